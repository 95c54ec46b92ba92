"""Changes over few pairs of runs: the mean, its 95% t interval, and the pairs that an effect takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

# 97.5% quantiles of Student's t for 1 to 29 degrees of freedom; scipy is not on every machine.
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452),
)
_Z = 1.959964
EFFECT = 0.03
"""Change for which the needed pairs are counted."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """The mean of the changes of pairs.

    Attributes:
        mean: Mean change, 0.01 for 1%.
        pairs: Number of pairs.
        deviation: Standard deviation over pairs (n - 1 in its denominator), None for one pair.
        half: Half width of the 95% interval, t x deviation / sqrt(pairs); None for one pair.
    """

    mean: float
    pairs: int
    deviation: float | None
    half: float | None

    def __str__(self) -> str:
        if self.half is None:
            return f"{self.mean:+.1%} (1 pair)"
        low, high = self.mean - self.half, self.mean + self.half
        return f"{self.mean:+.1%} ({low:+.1%} to {high:+.1%}; {self.pairs} pairs)"


def effect(changes: Sequence[float]) -> Effect:
    """Mean, deviation and interval of the changes of one pair or more."""
    num, mean = len(changes), float(np.mean(changes))
    if num < 2:
        return Effect(mean, num, None, None)
    deviation = float(np.std(changes, ddof=1))
    return Effect(mean, num, deviation, t_quantile(num - 1) * deviation / math.sqrt(num))


def t_quantile(degrees: int) -> float:
    """97.5% quantile of Student's t; above 29 degrees by an expansion, to four digits."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * degrees**2)
    return _Z + (_Z**3 + _Z) / (4 * degrees) + second


def pairs_needed(deviation: float, change: float = EFFECT) -> int:
    """The fewest pairs, two at least, whose 95% interval reaches no further than `change` to a side."""
    num = max(2, math.ceil((_Z * deviation / change) ** 2))  # t is larger than z, so no fewer
    while t_quantile(num - 1) * deviation / math.sqrt(num) > change:
        num += 1
    return num
