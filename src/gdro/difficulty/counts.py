"""Counts of the outcomes of each prompt: decayed sums, or a window of visits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdro.errors import OutcomeError
from gdro.numerics.arrays import FloatArray, IntArray

_MOST_TRIALS = np.iinfo(np.uint8).max


class Counts(Protocol):
    """Interface of both kinds of counts."""

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures, each shape (P,)."""
        ...

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Visits with at least one success, and visits, each shape (P,)."""
        ...

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Add a visit, the `visit_P`-th (from zero) of each prompt; returns the totals after it."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The counts as named arrays, one row per prompt."""
        ...

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the counts by arrays as `arrays()` returns them, without copying."""
        ...


class DecayedCounts:
    """Sums over visits, multiplied by `decay` at each visit. 16 bytes per prompt.

    A prompt's four sums are adjacent: successes, failures, visits with a success, visits.
    """

    def __init__(self, num_prompts: int, decay: float) -> None:
        self._decay = np.float32(decay)
        self._set(np.zeros((num_prompts, 4), np.float32))

    def _set(self, sum_N4: npt.NDArray[np.float32]) -> None:
        self._sum_N4 = sum_N4
        # Indexing rows as one 16-byte item each is many times faster than as four of 4 bytes.
        self._row_N = sum_N4.view(np.complex128)[:, 0]

    def _sums(self, prompt_P: IntArray) -> npt.NDArray[np.float32]:
        return self._row_N[prompt_P].view(np.float32).reshape(-1, 4)

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Decayed successes and failures, each shape (P,)."""
        sum_P4 = self._sums(prompt_P).astype(np.float64)
        return sum_P4[:, 0], sum_P4[:, 1]

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Decayed visits with a success, and visits, each shape (P,)."""
        sum_P4 = self._sums(prompt_P).astype(np.float64)
        return sum_P4[:, 2], sum_P4[:, 3]

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Decay the sums of these prompts and add one visit; returns the totals after it."""
        added_P4 = np.empty((len(prompt_P), 4), np.float32)
        added_P4[:, 0] = successes_P
        added_P4[:, 1] = trials_P - successes_P
        added_P4[:, 2] = successes_P > 0
        added_P4[:, 3] = 1.0
        sum_P4 = self._sums(prompt_P) * self._decay + added_P4
        self._row_N[prompt_P] = sum_P4.view(np.complex128)[:, 0]
        return sum_P4[:, 0].astype(np.float64), sum_P4[:, 1].astype(np.float64)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The four sums of each prompt, shape (N, 4)."""
        return {"sum_N4": self._sum_N4}

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace the four sums, without copying."""
        self._set(np.ascontiguousarray(arrays["sum_N4"]))


class WindowedCounts:
    """Successes and trials of the last `window` (H) visits. 2 H bytes per prompt."""

    def __init__(self, num_prompts: int, window: int) -> None:
        self._window = window
        self._success_NH = np.zeros((num_prompts, window), np.uint8)
        self._trials_NH = np.zeros((num_prompts, window), np.uint8)

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures in the window, each shape (P,)."""
        success_P = self._success_NH.take(prompt_P, axis=0).sum(axis=1, dtype=np.float64)
        trials_P = self._trials_NH.take(prompt_P, axis=0).sum(axis=1, dtype=np.float64)
        return success_P, trials_P - success_P

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Visits in the window with a success, and visits in the window, each shape (P,)."""
        hit_P = (self._success_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)
        return hit_P, (self._trials_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Overwrite the oldest visit; returns the totals after it.

        Raises:
            OutcomeError: A prompt has more than 255 trials in the visit.
        """
        if int(trials_P.max(initial=0)) > _MOST_TRIALS:
            raise OutcomeError(
                f"a prompt came back with {trials_P.max()} rollouts; the windowed tracker counts at "
                f"most {_MOST_TRIALS} per visit: use tracker='decayed'"
            )
        slot_P = visit_P % self._window
        self._success_NH[prompt_P, slot_P] = successes_P
        self._trials_NH[prompt_P, slot_P] = trials_P
        return self.totals(prompt_P)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Both windows, each shape (N, H)."""
        return {"success_NH": self._success_NH, "trials_NH": self._trials_NH}

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace both windows, without copying."""
        self._success_NH, self._trials_NH = arrays["success_NH"], arrays["trials_NH"]
