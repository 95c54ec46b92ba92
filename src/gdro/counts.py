"""Stores of what was seen of each prompt: decayed sums, or a window of visits."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gdro.errors import OutcomeError
from gdro.types import FloatArray, IntArray

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
    ) -> None:
        """Add one visit; `visit_P` counts the visits before it."""
        ...

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The store's arrays, one row a prompt."""
        ...


class DecayedCounts:
    """Sums over visits, multiplied by a factor at each visit. 16 bytes a prompt.

    Args:
        num_prompts: N.
        decay: Factor in [0, 1].
    """

    def __init__(self, num_prompts: int, decay: float) -> None:
        self._decay = np.float32(decay)
        self._sums = {
            name: np.zeros(num_prompts, np.float32)
            for name in ("success_N", "failure_N", "hit_N", "weight_N")
        }

    def totals(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Decayed successes and failures, each shape (P,)."""
        return self._get("success_N", prompt_P), self._get("failure_N", prompt_P)

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Decayed visits with a success, and visits, each shape (P,)."""
        return self._get("hit_N", prompt_P), self._get("weight_N", prompt_P)

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> None:
        """Decay the sums of these prompts and add one visit."""
        added = {
            "success_N": successes_P,
            "failure_N": trials_P - successes_P,
            "hit_N": successes_P > 0,
            "weight_N": np.ones(len(prompt_P)),
        }
        for name, values in added.items():
            sums = self._sums[name]
            sums[prompt_P] = sums[prompt_P] * self._decay + values

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The four sums, each shape (N,)."""
        return dict(self._sums)

    def _get(self, name: str, prompt_P: IntArray) -> FloatArray:
        return self._sums[name][prompt_P].astype(np.float64)


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
        success_P = self._success_NH[prompt_P].sum(axis=1, dtype=np.float64)
        return success_P, self._trials_NH[prompt_P].sum(axis=1, dtype=np.float64) - success_P

    def hits(self, prompt_P: IntArray) -> tuple[FloatArray, FloatArray]:
        """Visits in the window with a success, and visits in the window, each shape (P,)."""
        hit_P = (self._success_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)
        return hit_P, (self._trials_NH[prompt_P] > 0).sum(axis=1).astype(np.float64)

    def record(
        self, prompt_P: IntArray, visit_P: IntArray, successes_P: IntArray, trials_P: IntArray
    ) -> None:
        """Overwrite the oldest visit.

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

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Both windows, each shape (N, H)."""
        return {"success_NH": self._success_NH, "trials_NH": self._trials_NH}
