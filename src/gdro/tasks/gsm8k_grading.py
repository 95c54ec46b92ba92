"""Grading GSM8K: the final answer, and whether the arithmetic on the way to it is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from gdro.rewards.equations import number_of, wrong_steps

# A number alone: a unit or a point may follow, a sum or another number may not.
_FINAL = re.compile(r"####\s*\$?\s*(-?[\d,]*\.?\d+)(?=[^\n\d]*(?:\n|$))")
_NOTE = re.compile(r"<<.*?>>")


def cleaned(solution: str) -> str:
    """A solution without GSM8K's calculator annotations.

    >>> cleaned("He has 2+3=<<2+3=5>>5 left. ")
    'He has 2+3=5 left.'
    """
    return _NOTE.sub("", solution).strip()


def final_number(text: str) -> Fraction | None:
    """The number after the first `####`, or None where no number, or more than one, stands there.

    >>> final_number("so 1,200 in all\\n#### 1,200")
    Fraction(1200, 1)
    >>> final_number("#### 1200 - 3")
    """
    match = _FINAL.match(text, max(text.find("####"), 0))
    return None if match is None else number_of(match[1])


def final_answer(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function: 1 where the number after `####` is the answer.

    On completions with one such line, which holds one number, it agrees with
    `gdro.rewards.math_reward`, which takes a hundred times longer. All others are wrong here, without
    the line, or with a sum or several numbers in it; of several lines the first counts.

    >>> final_answer(["2 + 2 = 4\\n#### 4", "it is 4"], ["4", "4"])
    [1.0, 0.0]
    """
    return [
        float((number := final_number(text)) is not None and number == number_of(gold))
        for text, gold in zip(completions, answer, strict=True)
    ]


def lucky(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """TRL reward function for monitoring: 1 where a right answer follows a false equation.

    >>> lucky(["2 + 2 = 4\\n#### 4", "2 + 3 = 4\\n#### 4"], ["4", "4"])
    [0.0, 1.0]
    """
    right = final_answer(completions, answer)
    return [float(r > 0 and wrong_steps(t)[1] > 0) for r, t in zip(right, completions, strict=True)]
