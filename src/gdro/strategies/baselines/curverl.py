"""CurveRL: prompts weigh by their place in the distribution of recent pass rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gdro.checkpoint.codec import within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.strategy import Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class RecentRates:
    """Number of mixed groups in each class of pass rates, in each recent step, shape (T, G)."""

    count_TG: IntArray = field(metadata=within(0))


@dataclass(frozen=True)
class CurveRL(Strategy[RecentRates]):
    """Advantage w (reward - mean), with w = f(p) / F(p) of the recent steps' pass rates.

    f is the share of the mixed groups of the last `window` steps whose pass rate is in the class of p,
    F the share in this class or a harder one: w is 1 for the hardest class that occurs, less where many
    others are harder, and 0 for a class that did not occur. The first step takes its own groups. Rates
    are cut into `classes` of equal width; more classes than a group has rollouts tell all rates of
    equal groups apart, and then their number changes nothing. The trainer's own scaling is not used.
    Groups that are all right weigh 0; those that are all wrong, or have no verdict, keep reward - mean,
    which is zero unless there is partial credit.

    Args:
        window: Steps that the distribution is taken from (t_0); 0: the step itself.
        classes: G, the number of classes of pass rates.

    Raises:
        StrategyError: An option is out of range.

    References:
        Sun et al., 2026, "CurveRL: Principled Distribution-Aware Context Reweighting for LLM Reasoning",
        arXiv 2605.24331, with psi = log, as in its published code.

    >>> CurveRL(window=2, classes=3).init(num_prompts=4, num_bins=10).count_TG.shape
    (2, 3)
    """

    name: ClassVar[str] = "curverl"
    changes: ClassVar[str] = "the weight of each prompt, by the rank and density of its pass rate"
    source: ClassVar[str] = "arXiv 2605.24331"

    window: int = 10
    classes: int = 129

    def __post_init__(self) -> None:
        checks = {
            "window": (self.window >= 0, self.window, "0 or more"),
            "classes": (self.classes >= 2, self.classes, "2 or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("weigh",)

    @property
    def unscaled(self) -> bool:
        return True

    def init(self, num_prompts: int, num_bins: int) -> RecentRates:
        return RecentRates(np.zeros((self.window, self.classes), np.int64))

    def weigh(
        self, state: RecentRates, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        """f / F of each mixed group's class, in the steps before this one."""
        count_G = state.count_TG.sum(axis=0)
        weight_G = hazard(count_G if count_G.any() else self._counts(groups))
        solved_P = groups.scored_P & (groups.successes_P == groups.trials_P)
        plain_P = np.where(solved_P, 0.0, 1.0)
        return groups.expand(np.where(groups.mixed_P, weight_G[self._class(groups)], plain_P))

    def update(self, state: RecentRates, belief: Belief, groups: Groups) -> RecentRates:
        """Append the step's mixed groups, forget the oldest step; without verdicts it is no step."""
        if not groups.scored_P.any():
            return state
        count_TG = np.concatenate([state.count_TG, self._counts(groups)[None]])
        return RecentRates(count_TG[1:])

    def _class(self, groups: Groups) -> IntArray:
        class_P = groups.successes_P * self.classes // np.maximum(groups.trials_P, 1)
        return np.minimum(class_P, self.classes - 1)

    def _counts(self, groups: Groups) -> IntArray:
        return np.bincount(self._class(groups)[groups.mixed_P], minlength=self.classes)


def hazard(count_G: IntArray) -> FloatArray:
    """Count of each class over the count up to it (a reverse hazard rate), 0 where none, shape (G,).

    >>> hazard(np.array([0, 2, 0, 6])).tolist()
    [0.0, 1.0, 0.0, 0.75]
    """
    return count_G / np.maximum(np.cumsum(count_G), 1)
