"""Whether the equations in an answer are true: a check of the work, for `process=`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from gdro.rewards.functions import texts_of

# Possessive and bounded, so that any text takes time in proportion to its length.
_SPACE = r"\s{0,8}+"
_NUMBER = rf"(?>(?:\${_SPACE})?(?:\d++(?:,\d++)*+(?:\.\d++)?+|\.\d++)%?+)"
_SUM = re.compile(
    rf"(?<![\w.,/])({_NUMBER})((?:{_SPACE}[*x×/÷+\-]{_SPACE}{_NUMBER}){{1,32}}+)"
    rf"{_SPACE}={_SPACE}((?:-{_SPACE})?{_NUMBER})(?![.,]?\d)(?!{_SPACE}[*x×/÷+\-(\d=])"
)
_GOES_ON = re.compile(r"(?:[*x×/÷+\-=()\d%]|\bof|\btimes)\s*\$?$")  # the middle of an equation
_STEP = re.compile(rf"([*x×/÷+\-])\s*({_NUMBER})")
_SLACK = Fraction(1, 100)  # solutions round to cents


def equations_hold(completions: Sequence[Any], **_: Any) -> list[float | None]:
    """TRL reward function: 1 where every equation in the text is true, 0 where one is false.

    A check of the work rather than of the answer: pass it to `GDROTrainer(process=...)` with a weight of
    zero in `reward_weights`, and a memory stores no success that it objects to.

    Args:
        completions: Texts, or conversations whose last message is read.

    Returns:
        A score for each completion, None where there is no equation that can be checked.

    >>> equations_hold(["2 * 9 = 18, so 18", "2 + 3 = 4, so 4", "it is 4"])
    [1.0, 0.0, None]
    """
    counted = [wrong_steps(text) for text in texts_of(completions)]
    return [None if not num else float(wrong == 0) for num, wrong in counted]


def wrong_steps(text: str) -> tuple[int, int]:
    """Numbers of equations such as `80,000 + 50,000 = $130,000` in a text, and of the false ones.

    An equation is false if it is off by more than a cent. Those with brackets, units between numbers,
    unknowns or more than 32 operations are ignored.

    >>> wrong_steps("2 * 9 = $18, and 20% * 50 = 10, so 18 - 10 = 9")
    (3, 1)
    """
    verdicts = [_holds(match) for match in _SUM.finditer(text)]
    known = [verdict for verdict in verdicts if verdict is not None]
    return len(known), known.count(False)


def number_of(text: str) -> Fraction | None:
    """A number with optional thousands separators, dollar or percent sign; None if it is not one."""
    plain = text.replace(",", "").replace("$", "").replace(" ", "")
    share = plain.endswith("%")
    try:
        value = Fraction(plain.rstrip("%"))
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if share else value


def _holds(equation: re.Match[str]) -> bool | None:
    """Whether an equation is true; None if that cannot be decided."""
    terms: list[Fraction] = []
    start = equation.start()
    if _GOES_ON.search(equation.string[max(0, start - 12) : start]):
        return None
    first, claimed = number_of(equation[1]), number_of(equation[3])
    if first is None or claimed is None:
        return None
    terms.append(first)
    for operation, number in _STEP.findall(equation[2]):
        value = number_of(number)
        if value is None or (operation in "/÷" and value == 0):
            return None
        if operation in "*x×":
            terms[-1] *= value
        elif operation in "/÷":
            terms[-1] /= value
        else:
            terms.append(value if operation == "+" else -value)
    total = sum(terms, Fraction(0))
    # Only the result may have a percent sign, as in `5 / 20 = 25%`, or only the terms: 10% + 5% = 15.
    return any(abs(total * scale - claimed) <= _SLACK for scale in (1, 100, Fraction(1, 100)))
