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
_GOES_ON = re.compile(r"(?:[*x×/÷+\-=()\d%]|\bof|\btimes)\s*\$?$")  # an equation that began before
_STEP = re.compile(rf"([*x×/÷+\-])\s*({_NUMBER})")
_SLACK = Fraction(1, 100)  # solutions round to cents


def cleaned(solution: str) -> str:
    """A solution without the set's calculator notes.

    >>> cleaned("He has 2+3=<<2+3=5>>5 left. ")
    'He has 2+3=5 left.'
    """
    return _NOTE.sub("", solution).strip()


def final_number(text: str) -> Fraction | None:
    """The number after the first `####`, None if there is none.

    >>> final_number("so 1,200 in all\\n#### 1,200")
    Fraction(1200, 1)
    """
    found = _FINAL.search(text)
    return None if found is None else _value(found[1])


def wrong_steps(text: str) -> tuple[int, int]:
    """Equations of numbers that a text writes, such as `80,000 + 50,000 = $130,000`.

    Brackets, units between numbers and equations with an unknown are not looked at.

    Args:
        text: A worked solution.

    Returns:
        How many there are, and how many of them are false by more than a cent.

    >>> wrong_steps("2 * 9 = $18, and 20% * 50 = 10, so 18 - 10 = 9")
    (3, 1)
    """
    verdicts = [_holds(found) for found in _SUM.finditer(text)]
    known = [verdict for verdict in verdicts if verdict is not None]
    return len(known), known.count(False)


def final_answer(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function: 1 where the number after `####` is the answer.

    On completions with such a line it agrees with `gdro.rewards.math_reward`, which takes a hundred
    times longer; a completion without the line is wrong here, while that one takes its last number.

    >>> final_answer(["2 + 2 = 4\\n#### 4", "it is 4"], ["4", "4"])
    [1.0, 0.0]
    """
    return [
        float(final_number(text) == _value(gold)) for text, gold in zip(completions, answer, strict=True)
    ]


def lucky(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function to watch: 1 where the answer is right and an equation before it is false.

    >>> lucky(["2 + 2 = 4\\n#### 4", "2 + 3 = 4\\n#### 4"], ["4", "4"])
    [0.0, 1.0]
    """
    right = final_answer(completions, answer)
    return [float(r > 0 and wrong_steps(t)[1] > 0) for r, t in zip(right, completions, strict=True)]


def _value(text: str) -> Fraction | None:
    """A number with its signs of thousands, dollars and per cent; None if it is none."""
    plain = text.replace(",", "").replace("$", "").replace(" ", "")
    share = plain.endswith("%")
    try:
        value = Fraction(plain.rstrip("%"))
    except (ValueError, ZeroDivisionError):
        return None
    return value / 100 if share else value


def _holds(found: re.Match[str]) -> bool | None:
    """Whether an equation is true; None where it cannot be said."""
    terms: list[Fraction] = []
    if _GOES_ON.search(found.string[max(0, found.start() - 12) : found.start()]):
        return None
    first, claimed = _value(found[1]), _value(found[3])
    if first is None or claimed is None:
        return None
    terms.append(first)
    for operation, number in _STEP.findall(found[2]):
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
    # A per cent sign of the answer alone, as in `5 / 20 = 25%`, or of the parts alone: 10% + 5% = 15.
    return any(abs(total * scale - claimed) <= _SLACK for scale in (1, 100, Fraction(1, 100)))
