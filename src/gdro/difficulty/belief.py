"""What strategies may read about the dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.difficulty.tracker import DifficultyTracker
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.sampling import draw_by_bin


class Belief:
    """Read-only view of the difficulty tracker, passed to strategies.

    Pass rates and what follows from them are corrected for guessing where `Difficulty.guess` is set.
    """

    def __init__(self, tracker: DifficultyTracker) -> None:
        self._tracker = tracker

    @property
    def num_prompts(self) -> int:
        """Number of prompts in the dataset, N."""
        return len(self._tracker.bin_N)

    @property
    def num_bins(self) -> int:
        """Number of bins, B."""
        return self._tracker.binning.num_bins

    @property
    def bin_N(self) -> IntArray:
        """Current bin of every prompt (-1: unseen), shape (N,), read-only."""
        view = self._tracker.bin_N.view()
        view.flags.writeable = False
        return view  # pyright: ignore[reportReturnType]  # int8, smaller than declared

    @property
    def size_C(self) -> IntArray:
        """Number of unseen prompts, then of prompts in each bin, shape (1 + B,), read-only."""
        view = self._tracker.size_C.view()
        view.flags.writeable = False
        return view

    @property
    def visits_N(self) -> IntArray:
        """Number of visits to every prompt, shape (N,), read-only."""
        view = self._tracker.visits_N.view()
        view.flags.writeable = False
        return view  # pyright: ignore[reportReturnType]  # int32, smaller than declared

    def column(self, name: str) -> npt.NDArray[Any]:
        """The dataset column of that name, shape (N,), read-only."""
        return self._tracker.problem.columns[name]

    def sorted_column(self, name: str) -> tuple[IntArray, npt.NDArray[Any]]:
        """The dataset's order by a column, and its values in that order, shape (N,) each; kept."""
        return self._tracker.problem.sorted_column(name)

    def draw(self, mass_C: FloatArray, num_prompts: int, rng: np.random.Generator) -> IntArray:
        """Distinct prompts in random order, each from a bin that is drawn first, shape (P,).

        Args:
            mass_C: Probability of the unseen prompts, then of each bin, shape (1 + B,). A bin that runs
                out passes its draws to the others.
            num_prompts: Number of prompts, P.
            rng: Source of the draws.
        """
        return draw_by_bin(self._tracker.index, mass_C, num_prompts, rng)

    def posterior(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Beta posterior of the pass rates of the given prompts: (alpha, beta), each shape (P,)."""
        return self._tracker.posterior(prompt_P)

    def counts(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures of the given prompts, without the prior, each shape (P,)."""
        return self._tracker.totals(prompt_P)

    def pass_rate(self, prompt_P: IntArray) -> FloatArray:
        """Posterior mean pass rates of the given prompts, shape (P,)."""
        alpha_P, beta_P = self._tracker.posterior(prompt_P)
        return alpha_P / (alpha_P + beta_P)

    def skill(self, prompt_P: IntArray, rate_P: FloatArray) -> FloatArray:
        """Pass rates of the given prompts corrected for guessing, each shape (P,)."""
        guessing = self._tracker.guessing
        return rate_P if guessing is None else guessing.skill(prompt_P, rate_P)

    def chance(self, prompt_P: IntArray) -> FloatArray:
        """Probability that a rollout is accepted, by skill or by luck, shape (P,)."""
        rate_P, guessing = self.pass_rate(prompt_P), self._tracker.guessing
        if guessing is None:
            return rate_P
        guess_P = guessing.rate(prompt_P)
        return guess_P + (1.0 - guess_P) * rate_P

    def passk(self, prompt_P: IntArray) -> FloatArray:
        """Estimated pass@k of the given prompts, shape (P,)."""
        return self._tracker.passk(prompt_P)
