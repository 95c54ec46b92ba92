"""Do verdicts differ? A threshold that no reward passes, or every one, leaves nothing to steer by."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from gdro.integrations.trl.correct import Judge, Judged
from gdro.numerics.arrays import IntArray

PLANS = 5
"""Plans of one verdict before the warning."""


class Watch:
    """Warns once if all of the first plans is right, or nothing although rewards differ within groups,
    or if none of it was judged.

    Args:
        trainer: The trainer; only its main process tells.
        judge: What says what is right.
    """

    def __init__(self, trainer: Any, judge: Judge) -> None:
        self.judge = judge
        self._tickets: set[int] = set()
        self._low, self._high = np.inf, -np.inf
        self._known = self._right = self._wrong = self._differ = False
        self._done = not trainer.accelerator.is_main_process

    def see(self, ticket: int, prompt_R: IntArray, judged: Judged) -> None:
        """Look at one round of rollouts.

        Args:
            ticket: The plan's.
            prompt_R: Prompt of each rollout, shape (R,).
            judged: Verdicts on them.
        """
        known_R = judged.judged_R
        if self._done:
            return
        if len(self._tickets) == PLANS and ticket not in self._tickets:
            self._done = True  # the first plans are whole, with their further rounds
            if not self._known:
                self._warn_of_nothing()
            elif self._right or self._differ:
                self._warn()
            return
        self._tickets.add(ticket)
        if not known_R.any():
            return
        self._known = True
        prompt_R, value_R = prompt_R[known_R], judged.value_R[known_R]
        right_R = judged.correct_R[known_R]
        self._low, self._high = min(self._low, value_R.min()), max(self._high, value_R.max())
        self._right |= bool(right_R.any())
        self._wrong |= not right_R.all()
        self._done = self._right and self._wrong
        self._differ |= any(np.ptp(value_R[prompt_R == p]) > 0 for p in np.unique(prompt_R))

    def _warn_of_nothing(self) -> None:
        warnings.warn(
            f"no rollout of the first {PLANS} plans was judged: right is {self.judge.text}, which said "
            "nothing of any of them (None), so the controller learns nothing of the prompts; name a "
            "reward function that scores these rows with correct=",
            stacklevel=2,
        )

    def _warn(self) -> None:
        what, others, took = (
            ("every rollout", "wrong", "solved")
            if self._right
            else ("no rollout", "right", "unsolvable")
        )
        instead = "name another reward function with correct="
        if self._low < self._high:
            hint = self.judge.hint((self._low + self._high) / 2)
            instead = f"say what divides them, e.g. {hint}"
        warnings.warn(
            f"{what} of the first {PLANS} plans was right: right is {self.judge.text}, and it lay "
            f"between {self._low:.3g} and {self._high:.3g}; if some of them are {others}, {instead}, or "
            f"the controller takes every prompt for {took}",
            stacklevel=2,
        )
