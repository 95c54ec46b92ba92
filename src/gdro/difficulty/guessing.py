"""Correction for guessing: what counts say about skill where a guess can be right."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdro.errors import ProblemError, StrategyError
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem

_ALLOWED = (
    "the probability that a guess is right, 0 up to 1, or the name of a column with such "
    "probabilities, or with numbers of choices of 2 or more"
)


class Guessing:
    """The probability g that a guess at a prompt is right, and rates and counts without lucky successes.

    A prompt of skill s is answered with probability p = g + (1 - g) s, so s = (p - g) / (1 - g), the
    three-parameter model of item response theory with g as its guessing parameter. From f failures
    g / (1 - g) f lucky successes are expected; formula scoring subtracts as many ("rights minus wrongs
    over the number of other choices").

    References:
        Birnbaum, "Some latent trait models and their use in inferring an examinee's ability", in Lord &
        Novick, 1968, Statistical Theories of Mental Test Scores.

    >>> Guessing(0.25, None).skilled(np.array([0]), np.array([3.0]), np.array([3.0]))
    (array([2.]), array([4.]))
    """

    def __init__(self, rate: float, rate_N: FloatArray | None) -> None:
        self._rate, self._rate_N = rate, rate_N

    def rate(self, prompt_P: IntArray) -> FloatArray:
        """Probability that a guess is right, shape (P,)."""
        if self._rate_N is None:
            return np.full(len(prompt_P), self._rate)
        return self._rate_N[prompt_P]

    def skill(self, prompt_P: IntArray, rate_P: FloatArray | float) -> FloatArray:
        """Skill behind pass rates, 0 to 1, shape (P,)."""
        guess_P = self.rate(prompt_P)
        return np.clip((rate_P - guess_P) / (1.0 - guess_P), 0.0, 1.0)

    def skilled(
        self, prompt_P: IntArray, success_P: FloatArray, failure_P: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Successes without the expected lucky ones, which count as failures, each shape (P,)."""
        guess_P = self.rate(prompt_P)
        lucky_P = np.minimum(success_P, failure_P * guess_P / (1.0 - guess_P))
        return success_P - lucky_P, failure_P + lucky_P


def check_guess(guess: Any) -> None:
    """Raise a StrategyError unless this is a probability below 1 or the name of a column."""
    number = isinstance(guess, (int, float)) and not isinstance(guess, bool) and 0 <= guess < 1
    if not number and not (isinstance(guess, str) and guess):
        many = guess if isinstance(guess, int) and guess >= 2 else 0
        choices = f" (with {many} choices: {1 / many:.3g})" if many else ""
        raise StrategyError(f"difficulty option guess is {guess!r}; allowed: {_ALLOWED}{choices}")


def guessing(guess: float | str, problem: Problem) -> Guessing | None:
    """The correction for a dataset; None where no guess is right.

    Raises:
        ProblemError: The dataset has no such column, or it has other values.
    """
    if not isinstance(guess, str):
        return Guessing(float(guess), None) if guess else None
    value_N = problem.column(guess, f"guess={guess!r}")
    fits_N = np.zeros(len(value_N), bool)
    if value_N.dtype.kind in "iuf":
        fits_N = ((value_N >= 0) & (value_N < 1)) | (value_N >= 2)
    if not fits_N.all():
        first = int(np.flatnonzero(~fits_N)[0])
        raise ProblemError(
            f"column {guess!r} is {value_N[first].item()!r} for prompt {problem.prompt_keys[first]!r}; "
            "allowed for guess: probabilities of 0 up to 1, or numbers of choices of 2 or more"
        )
    choices_N = np.maximum(value_N, 2)
    return Guessing(0.0, np.where(value_N >= 2, 1.0 / choices_N, value_N).astype(np.float64))
