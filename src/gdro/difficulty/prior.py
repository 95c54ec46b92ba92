"""The prior mean pass rate: a running mean over the dataset, or over each category."""

from __future__ import annotations

import numpy as np

from gdro.difficulty.bins import Binning
from gdro.numerics.arrays import FloatArray, IntArray

# A prior mean of exactly zero or one would put no pseudo-count on one of the two outcomes.
_LEAST, _MOST = 0.05, 0.95


class Prior:
    """Running mean pass rate of each category, multiplied by `decay` per visit.

    Without a column the whole dataset is one category. A prompt that was never visited borrows its
    mean from the others of its category.
    """

    def __init__(self, binning: Binning, decay: float) -> None:
        self._code_N = binning.code_N
        self._decay = decay
        self._mean_G = np.full(binning.num_categories, 0.5)
        self._visits_G = np.zeros(binning.num_categories)

    def mean(self, prompt_P: IntArray) -> FloatArray | float:
        """Prior mean pass rate of the given prompts, inside (0, 1): shape (P,), or one for all."""
        if self._code_N is None:
            return min(max(float(self._mean_G[0]), _LEAST), _MOST)
        return np.clip(self._mean_G, _LEAST, _MOST)[self._code_N[prompt_P]]

    def observe(self, prompt_P: IntArray, rate_P: FloatArray) -> None:
        """Update the means with one visit to each prompt and its pass rate, shape (P,)."""
        if self._code_N is None:  # the common case, without arrays of one element
            keep = self._decay ** len(prompt_P) if self._visits_G[0] else 0.0
            newest = float(rate_P.sum()) / len(prompt_P)
            self._mean_G = np.array([keep * self._mean_G[0] + (1.0 - keep) * newest])
            self._visits_G = self._visits_G + len(prompt_P)
            return
        code_P, num = self._code_N[prompt_P], len(self._mean_G)
        num_G = np.bincount(code_P, minlength=num)
        total_G = np.bincount(code_P, rate_P, num)
        keep_G = np.where(self._visits_G > 0, self._decay**num_G, 0.0)
        mean_G = keep_G * self._mean_G + (1.0 - keep_G) * (total_G / np.maximum(num_G, 1))
        self._mean_G = np.where(num_G > 0, mean_G, self._mean_G)
        self._visits_G = self._visits_G + num_G

    def array(self) -> FloatArray:
        """Mean pass rates, then visits, shape (2 G,)."""
        return np.concatenate([self._mean_G, self._visits_G])

    def load(self, array: FloatArray) -> None:
        """Replace the state by an array as `array()` returns it."""
        self._mean_G, self._visits_G = np.split(np.array(array, np.float64), 2)
