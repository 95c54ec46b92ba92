"""Prefix continuation: rollouts of hard problems that go on from a part of a stored success."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import BoolArray, FloatArray
from gdro.study.recalls import StoredRow
from gdro.types import Outcome, Plan

FREE = -1
"""In the place of a token: it is the model's to choose."""
_STEP, _START_STEP = 0.5, 0.05
_LOW, _HIGH = 0.1, 0.9
_LEAST = 4  # rollouts of a problem, so that both halves are groups


class Prefixes:
    """Half of the rollouts of a problem with a stored success and a low pass rate start with its prefix.

    They are a group of their own, their prefix is not trained on, and no belief learns from them. Each
    problem's prefix has a share of the success's tokens, from a tenth to nine tenths. A visit adds half
    of (1/2 - pass rate of the continuations) to it, and a twentieth of it to the share that problems
    start with (a half at first), so that about half of the continuations are right.

    Args:
        below: Pass rate below which a problem gets prefixes.

    Attributes:
        rows: Number of continuations so far.
        right: Number of those that were right.
    """

    def __init__(self, below: float) -> None:
        self._below = below
        self._share: dict[int, float] = {}
        self._start = 0.5
        self.rows = self.right = 0

    def forced(
        self, plan: Plan, belief: Belief, stored: Mapping[int, tuple[StoredRow, ...]], prompt: int
    ) -> torch.Tensor:
        """Tokens that rollouts of a plan start with, `FREE` behind them, shape (R, answer).

        The last half of the rollouts of a problem continue; `prompt` is the width of prompts in tokens.
        """
        answer = next((len(rows[0].mask) for rows in stored.values()), 0)
        forced = torch.full((len(plan.prompt_R), answer), FREE)
        hard_P = (belief.pass_rate(plan.prompt_P) < self._below) & (plan.rollouts_P >= _LEAST)
        for i in np.flatnonzero(hard_P).tolist():
            problem = int(plan.prompt_P[i])
            if problem in stored:
                end, own = int(plan.rollouts_P[: i + 1].sum()), stored[problem][0]
                length = self._length(problem, int(own.mask.sum()))
                start = end - int(plan.rollouts_P[i]) // 2
                forced[start:end, :length] = own.tokens[prompt : prompt + length]
        return forced

    def learn(self, outcome: Outcome, continued_R: BoolArray) -> None:
        """Steer the prefixes by how many of the step's continuations were right."""
        prompt, right = outcome.prompt_R[continued_R], outcome.correct_R[continued_R]
        self.rows += len(prompt)
        self.right += int(right.sum())
        for problem in np.unique(prompt).tolist():
            rate: FloatArray = right[prompt == problem].mean()
            off = 0.5 - float(rate)
            own = self._share[problem] + _STEP * off
            self._share[problem] = min(max(own, _LOW), _HIGH)
            self._start = min(max(self._start + _START_STEP * off, _LOW), _HIGH)

    def _length(self, problem: int, tokens: int) -> int:
        share = self._share.setdefault(problem, self._start)
        return min(max(round(share * tokens), 1), tokens - 1)
