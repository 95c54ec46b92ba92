"""Places for recalled rollouts: rows without gradient make room, so that the row count is constant."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.types import Outcome, Recall, Weights

_NO_GRADIENT = 1e-6


@dataclass(frozen=True)
class Placed:
    """Recalled rollouts that found a place.

    Attributes:
        recalls: What joins, replays first.
        row_M: The row of the outcome that each one replaces, shape (M,).
    """

    recalls: tuple[Recall, ...]
    row_M: IntArray

    @property
    def replays(self) -> tuple[Recall, ...]:
        """Those that join the groups of their prompts."""
        return tuple(r for r in self.recalls if r.kind == "replay")

    @property
    def prompt_M(self) -> IntArray:
        """Dataset index of each, shape (M,)."""
        return np.array([r.prompt for r in self.recalls], np.int64)


def place(
    weights: Weights,
    outcome: Outcome,
    advantage_R: FloatArray,
    chosen_R: IntArray,
    stored: Container[int],
    least_likely: Callable[[IntArray], Sequence[int]],
) -> Placed | None:
    """Find places for what a strategy recalls: rows without gradient, the shortest answers first.

    Args:
        weights: The controller's.
        outcome: All rows.
        advantage_R: Their weighted advantages, shape (R,).
        chosen_R: Rows that the loss takes, shape (rows,).
        stored: Prompts of which a rollout is at hand.
        least_likely: Positions in an array of prompts, by the likelihood of their stored rollouts
            under the current policy, the least likely first.

    Returns:
        What joins, or None if nothing does.
    """
    live_R = np.zeros(len(outcome.prompt_R), bool)
    live_R[chosen_R] = True
    dead_R = live_R & (np.abs(advantage_R) <= _NO_GRADIENT)
    # A group that was dropped, or weighs nothing, has nothing that a replay could be compared with.
    open_R = live_R & weights.keep_R & (weights.weight_R != 0) & outcome.valid_mask_R
    groups = set(outcome.prompt_R[open_R].tolist())
    joining: list[Recall] = []
    for recall in weights.recall:
        if recall.kind == "replay" and recall.prompt in groups and recall.prompt in stored:
            # The rows of a group that is replayed have a gradient then: they are no places.
            left_R = dead_R & (outcome.prompt_R != recall.prompt)
            if int(left_R.sum()) > len(joining):
                joining.append(recall)
                dead_R = left_R
    anchors = [r for r in weights.recall if r.kind == "anchor" and r.prompt in stored]
    room = min(weights.most_anchors, int(dead_R.sum()) - len(joining))
    if weights.anchor_pick == "least" and len(anchors) > room > 0:
        order = least_likely(np.array([r.prompt for r in anchors], np.int64))
        anchors = [anchors[i] for i in order]
    joining += anchors[: max(0, room)]
    if not joining:
        return None
    return Placed(tuple(joining), _shortest(dead_R, outcome)[: len(joining)])


def join_weights(
    replays: Sequence[Recall], prompt_R: IntArray, weight_R: FloatArray, keep_R: BoolArray
) -> FloatArray:
    """Weights of rows with replays behind them: a replay and its group share the replay's factor.

    Args:
        replays: Replays, at most one a prompt; M of them.
        prompt_R: Dataset index of each row, shape (R,).
        weight_R: Weight of each row, shape (R,).
        keep_R: Rows that are kept, shape (R,).

    Returns:
        Shape (R + M,). A replay weighs what the last kept row of its prompt weighs, zero where none is
        kept.
    """
    factor = {replay.prompt: replay.weight for replay in replays}
    factor_R = np.array([factor.get(prompt, 1.0) for prompt in prompt_R.tolist()], np.float64)
    joined_R = weight_R * factor_R
    kept = dict(zip(prompt_R[keep_R].tolist(), joined_R[keep_R].tolist(), strict=True))
    weight_M = np.array([kept.get(replay.prompt, 0.0) for replay in replays], np.float64)
    return np.concatenate([joined_R, weight_M])


def _shortest(dead_R: BoolArray, outcome: Outcome) -> IntArray:
    rows = np.flatnonzero(dead_R)
    if outcome.tokens_R is None:
        return rows
    return rows[np.argsort(outcome.tokens_R[rows], kind="stable")]
