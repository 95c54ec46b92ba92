"""Grading GSM8K: the final answer, and whether the arithmetic on the way to it is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

_FINAL = re.compile(r"####\s*\$?\s*(-?[\d,]*\.?\d+)")
_NOTE = re.compile(r"<<.*?>>")
_NUMBER = r"\$?\s*\d[\d,]*(?:\.\d+)?%?|\$?\s*\.\d+%?"
_SUM = re.compile(
    rf"(?<![\w.,/])({_NUMBER})((?:\s*[*x×/÷+\-]\s*(?:{_NUMBER}))+)\s*=\s*(-?\s*(?:{_NUMBER}))"
    r"(?![.,]?\d)(?!\s*[*x×/÷+\-(\d]|\s*=)"
)
_GOES_ON = re.compile(r"(?:[*x×/÷+\-=()\d%]|\bof|\btimes)\s*\$?$")  # the middle of an equation
_STEP = re.compile(rf"([*x×/÷+\-])\s*({_NUMBER})")
_SLACK = Fraction(1, 100)  # solutions round to cents


def cleaned(solution: str) -> str:
    """A solution without GSM8K's calculator annotations.

    >>> cleaned("He has 2+3=<<2+3=5>>5 left. ")
    'He has 2+3=5 left.'
    """
    return _NOTE.sub("", solution).strip()


def final_number(text: str) -> Fraction | None:
    """The number after the first `####`, or None.

    >>> final_number("so 1,200 in all\\n#### 1,200")
    Fraction(1200, 1)
    """
    match = _FINAL.search(text)
    return None if match is None else _value(match[1])


def wrong_steps(text: str) -> tuple[int, int]:
    """Numbers of equations such as `80,000 + 50,000 = $130,000` in a text, and of the false ones.

    An equation is false if it is off by more than a cent. Those with brackets, units between numbers or
    unknowns are ignored.

    >>> wrong_steps("2 * 9 = $18, and 20% * 50 = 10, so 18 - 10 = 9")
    (3, 1)
    """
    verdicts = [_holds(match) for match in _SUM.finditer(text)]
    known = [verdict for verdict in verdicts if verdict is not None]
    return len(known), known.count(False)


def final_answer(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function: 1 where the number after `####` is the answer.

    On completions with such a line it agrees with `gdro.rewards.math_reward`, which takes a hundred
    times longer; a completion without it is wrong, while `math_reward` takes its last number.

    >>> final_answer(["2 + 2 = 4\\n#### 4", "it is 4"], ["4", "4"])
    [1.0, 0.0]
    """
    return [
        float(final_number(text) == _value(gold)) for text, gold in zip(completions, answer, strict=True)
    ]


def lucky(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function for monitoring: 1 where a right answer follows a false equation.

    >>> lucky(["2 + 2 = 4\\n#### 4", "2 + 3 = 4\\n#### 4"], ["4", "4"])
    [0.0, 1.0]
    """
    right = final_answer(completions, answer)
    return [float(r > 0 and wrong_steps(t)[1] > 0) for r, t in zip(right, completions, strict=True)]


def _value(text: str) -> Fraction | None:
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
    first, claimed = _value(equation[1]), _value(equation[3])
    if first is None or claimed is None:
        return None
    terms.append(first)
    for operation, number in _STEP.findall(equation[2]):
        value = _value(number)
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
