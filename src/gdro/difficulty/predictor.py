"""Pass rates of unseen prompts, predicted from what is known of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.difficulty.features import Features
from gdro.errors import CheckpointError
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem

_FORGET = 0.999  # per visit: as the policy learns, older visits say less
_FOLLOW = 0.995  # of the mean pass rate, which changes faster than what prompts differ in
_READY = 64  # visits before predictions are used
_LEAST, _MOST = 0.01, 0.99
_STRONGEST = 4.0  # rollouts that a prediction weighs at most: it is soon out of date
_LARGEST = 1e15  # of the sums; features are of length about one
_DIGITS = 6  # of predictions: sums in another order are the same on every rank


class Predictor:
    """Ridge regression of the pass rate on the features of a prompt, fitted online.

    w minimises sum_t c^(T - t) (y_t - r_t - w x_t)^2 + |w|^2 over the visits t = 1, ..., T to prompts of
    features x_t and pass rates y_t, c = .999: recursive least squares with exponential forgetting, kept
    as A w = b with A = I + sum c^(T - t) x_t x_t' and b = sum c^(T - t) (y_t - r_t) x_t. r_t is the
    running mean pass rate (a factor of .995 per visit), that of the first step in the first one. The
    visits of a step are of the same time. A prediction is r + w x.

    A prediction m is the mean of a Beta prior, whose strength S = alpha + beta follows from how far off
    earlier predictions were, before each visit: E (y - m)^2 = m (1 - m) [1 / n + (1 - 1 / n) / (S + 1)]
    for the rate y of n rollouts (the method of moments of the beta-binomial).

    Args:
        names: Columns of the prompts, or `prompt` for their text.
        problem: The prompts.

    Raises:
        ProblemError: A column or the texts are missing.

    References:
        Hoerl and Kennard, 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems";
        Haykin, "Adaptive Filter Theory" (recursive least squares); Kleinman, 1973, "Proportions with
        Extraneous Variance: Single and Independent Samples" (moments).

    >>> problem = Problem(list("abcd"), columns={"level": np.array([0, 0, 1, 1])})
    >>> predictor = Predictor(["level"], problem)
    >>> for _ in range(40):
    ...     predictor.observe(np.array([0, 2]), np.array([0.8, 0.2]), np.array([10, 10]))
    >>> predictor.mean(np.array([1, 3])).round(1).tolist()
    [0.8, 0.2]
    """

    def __init__(self, names: Sequence[str], problem: Problem) -> None:
        self._features = Features(names, problem)
        num = self._features.num
        self._gram_FF, self._sum_F = np.eye(num), np.zeros(num)
        # Visits; forgotten sums: squared errors, m (1 - m), and m (1 - m) / n; the mean pass rate.
        self._moments = np.zeros(5)
        self._weight_F = np.zeros(num)

    @property
    def is_ready(self) -> bool:
        """Whether enough visits were seen to predict others."""
        return bool(self._moments[0] >= _READY)

    def mean(self, prompt_P: IntArray) -> FloatArray:
        """Predicted pass rates, inside (0, 1), shape (P,)."""
        rate_P: FloatArray = self._features.rows(prompt_P) @ self._weight_F + float(self._moments[4])
        return np.clip(np.round(rate_P, _DIGITS), _LEAST, _MOST)

    def strength(self, least: float) -> float:
        """Weight of a prediction in rollouts, from `least` to 4."""
        error, spread, noise = self._moments[1:4].tolist()
        if spread - noise <= 1e-9 * spread:  # groups of one rollout say nothing about it
            return least
        between = max(error - noise, (spread - noise) / (1.0 + _STRONGEST))
        return round(max(least, (spread - noise) / between - 1.0), _DIGITS)

    def observe(self, prompt_P: IntArray, rate_P: FloatArray, trials_P: IntArray) -> None:
        """Learn from one visit to each prompt: its pass rate and number of rollouts, shape (P,)."""
        keep, follow = _FORGET ** len(prompt_P), _FOLLOW ** len(prompt_P)
        newest = float(rate_P.sum()) / len(rate_P)
        if not self._moments[0]:
            self._moments[4] = newest
        visits, *sums, mean = self._moments.tolist()
        mean_P = self.mean(prompt_P)
        spread_P = mean_P * (1.0 - mean_P)
        new = ((rate_P - mean_P) ** 2).sum(), spread_P.sum(), (spread_P / trials_P).sum()
        sums = [keep * old + added for old, added in zip(sums, new, strict=True)]
        followed = follow * mean + (1.0 - follow) * newest
        self._moments = np.array([visits + len(prompt_P), *sums, followed])
        row_PF = self._features.rows(prompt_P)
        eye = np.eye(len(self._sum_F))
        self._gram_FF = keep * self._gram_FF + (1.0 - keep) * eye + row_PF.T @ row_PF
        self._sum_F = keep * self._sum_F + row_PF.T @ (rate_P - mean)
        self._weight_F = np.linalg.solve(self._gram_FF, self._sum_F)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """State as named arrays; the coding says which features it belongs to."""
        return {
            "predictor_gram": self._gram_FF,
            "predictor_sum": self._sum_F,
            "predictor_moments": self._moments,
            "predictor_coding": self._features.coding,
        }

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the state by arrays as `arrays()` returns them, of the same shapes.

        Raises:
            CheckpointError: They are not those of a regression.
        """
        gram_FF, sum_F = arrays["predictor_gram"], arrays["predictor_sum"]
        moments = arrays["predictor_moments"]
        # A NaN is not below.
        numbers = bool((np.abs(gram_FF) < _LARGEST).all() and (np.abs(sum_F) < _LARGEST).all())
        fits = numbers and bool(((moments >= 0) & (moments < _LARGEST)).all() and moments[4] <= 1)
        try:
            # At least the ridge itself, which visits only add to.
            fits = fits and float(np.linalg.eigvalsh(gram_FF)[0]) > 1.0 - 1e-6
        except np.linalg.LinAlgError:
            fits = False
        if not fits or not np.allclose(gram_FF, gram_FF.T, rtol=1e-9):
            raise CheckpointError(
                "difficulty/predictor_gram, _sum or _moments in the checkpoint are not those of a "
                "regression; it is damaged, go back to an earlier one"
            )
        self._gram_FF, self._sum_F, self._moments = gram_FF.copy(), sum_F.copy(), moments.copy()
        self._weight_F = np.linalg.solve(self._gram_FF, self._sum_F)
