"""Stores of what was seen of each prompt: decayed sums, or a window of visits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdro.errors import OutcomeError
from gdro.numerics.arrays import FloatArray, IntArray

_MOST_TRIALS = np.iinfo(np.uint8).max


class Counts(Protocol):
    """What a store offers; arrays are by prompt."""

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures counted, each shape (P,)."""
        ...

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Visits with any success, and visits, each shape (P,)."""
        ...

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Add one visit, `visit_P` counts those before it; the totals after it."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The store's arrays, one row a prompt."""
        ...

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep arrays of the names, shapes and types of `arrays()`, without copying them."""
        ...


class DecayedCounts:
    """Sums over visits, multiplied by a factor at each visit. 16 bytes a prompt.

    A prompt's four sums lie side by side: successes, failures, visits with a success, visits.

    Args:
        num_prompts: N.
        decay: Factor in [0, 1].
    """

    def __init__(self, num_prompts: int, decay: float) -> None:
        self._decay = np.float32(decay)
        self._keep(np.zeros((num_prompts, 4), np.float32))

    def _keep(self, sum_N4: npt.NDArray[np.float32]) -> None:
        self._sum_N4 = sum_N4
        # A row is moved as one item of 16 bytes, many times faster than as four of 4.
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
        """Decay the sums of these prompts and add one visit; the totals after it."""
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
        """Keep the four sums of a checkpoint, without copying them."""
        self._keep(np.ascontiguousarray(arrays["sum_N4"]))


class WindowedCounts:
    """The last H visits, each with its successes and trials. 2 H bytes a prompt.

    Args:
        num_prompts: N.
        window: H.
    """

    def __init__(self, num_prompts: int, window: int) -> None:
        self._window = window
        self._success_NH = np.zeros((num_prompts, window), np.uint8)
        self._trials_NH = np.zeros((num_prompts, window), np.uint8)

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Successes and failures in the window, each shape (P,)."""
        success_P = self._success_NH.take(prompt_P, axis=0).sum(axis=1, dtype=np.float64)
        return success_P, self._trials_NH.take(prompt_P, axis=0).sum(
            axis=1, dtype=np.float64
        ) - success_P

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Visits in the window with a success, and visits in the window, each shape (P,)."""
        hit_P = (self._success_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)
        return hit_P, (self._trials_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Overwrite the oldest visit; the totals after it.

        Raises:
            OutcomeError: More trials in a visit than a byte holds.
        """
        if int(trials_P.max(initial=0)) > _MOST_TRIALS:
            raise OutcomeError(
                f"a prompt came back with {trials_P.max()} rollouts; the windowed tracker holds at "
                f"most {_MOST_TRIALS} a visit, use tracker='decayed'"
            )
        slot_P = visit_P % self._window
        self._success_NH[prompt_P, slot_P] = successes_P
        self._trials_NH[prompt_P, slot_P] = trials_P
        return self.totals(prompt_P)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Both windows, each shape (N, H)."""
        return {"success_NH": self._success_NH, "trials_NH": self._trials_NH}

    def adopt(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep both windows of a checkpoint, without copying them."""
        self._success_NH, self._trials_NH = arrays["success_NH"], arrays["trials_NH"]
