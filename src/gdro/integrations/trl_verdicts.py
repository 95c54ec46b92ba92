"""Whether any rollout is ever right: a threshold that no reward passes leaves nothing to steer by."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gdro.integrations.trl_support import Correct
from gdro.types import FloatArray, IntArray

PLANS = 5
"""Plans without a right rollout before the warning."""


class Verdicts:
    """Warns once if nothing is right in the first plans although rewards differ within groups.

    Args:
        trainer: The trainer; only its main process tells.
        correct: Which of its reward functions says what is right.
    """

    def __init__(self, trainer: Any, correct: Correct) -> None:
        self.name = trainer.reward_func_names[correct.column]
        self.threshold = correct.threshold
        self._tickets: set[int] = set()
        self._low, self._high = np.inf, -np.inf
        self._differ, self._done = False, not trainer.accelerator.is_main_process

    def see(self, ticket: int, prompt_R: IntArray, judged_R: FloatArray) -> None:
        """Look at one round of rollouts.

        Args:
            ticket: The plan's.
            prompt_R: Prompt of each rollout, shape (R,).
            judged_R: Reward of each from the function (NaN: none), shape (R,).
        """
        known_R = ~np.isnan(judged_R)
        if self._done or not known_R.any():
            return
        if len(self._tickets) == PLANS and ticket not in self._tickets:
            self._done = True  # the first plans are whole, with their further rounds
            if self._differ:
                self._warn()
            return
        self._tickets.add(ticket)
        prompt_R, judged_R = prompt_R[known_R], judged_R[known_R]
        self._low, self._high = min(self._low, judged_R.min()), max(self._high, judged_R.max())
        self._done = self._high > self.threshold
        self._differ |= any(np.ptp(judged_R[prompt_R == p]) > 0 for p in np.unique(prompt_R))

    def _warn(self) -> None:
        middle = f"{(self._low + self._high) / 2:.3g}"
        warnings.warn(
            f"no rollout of the first {PLANS} plans was right: reward {self.name!r} lay between "
            f"{self._low:.3g} and {self._high:.3g}, right is above {self.threshold:g}; if some of them "
            f"are right, say what divides them, e.g. correct=({self.name!r}, {middle}), or the "
            "controller takes every prompt for unsolvable",
            stacklevel=2,
        )
