"""Recalled rollouts replace rows without gradient, so that the number of rows stays constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.types import Outcome, Recall, Weights

_NO_GRADIENT = 1e-6


@dataclass(frozen=True)
class Placed:
    """Recalled rollouts that join the step.

    Attributes:
        recalls: The recalled rollouts, replays first.
        row_M: Row of the outcome that each of them replaces, shape (M,).
    """

    recalls: tuple[Recall, ...]
    row_M: IntArray

    @property
    def replays(self) -> tuple[Recall, ...]:
        """The recalled rollouts that join the groups of their prompts."""
        return tuple(r for r in self.recalls if r.kind == "replay")

    @property
    def prompt_M(self) -> IntArray:
        """Dataset index of each recalled rollout, shape (M,)."""
        return np.array([r.prompt for r in self.recalls], np.int64)


def place(
    weights: Weights,
    outcome: Outcome,
    advantage_R: FloatArray,
    chosen_R: IntArray,
    stored: Mapping[int, Sequence[object]],
    least_likely: Callable[[IntArray], Sequence[int]],
) -> Placed | None:
    """Choose which recalled rollouts join, and the rows without gradient that they replace.

    The shortest rows are replaced first.

    Args:
        weights: The controller's weights, with the rollouts that the strategy recalls.
        outcome: All rows of the step.
        advantage_R: Weighted advantage of each row, shape (R,).
        chosen_R: Indices of the rows that enter the loss.
        stored: Stored rollouts by prompt.
        least_likely: Sorts prompts by the likelihood of their stored rollouts under the current
            policy, the least likely first; returns positions in its argument.

    Returns:
        The rollouts that join, or None if there are none.
    """
    live_R = np.zeros(len(outcome.prompt_R), bool)
    live_R[chosen_R] = True
    dead_R = live_R & (np.abs(advantage_R) <= _NO_GRADIENT)
    # A group that was dropped or has weight zero has no rows to compare a replay with.
    open_R = live_R & weights.keep_R & (weights.weight_R != 0) & outcome.valid_mask_R
    groups = set(outcome.prompt_R[open_R].tolist())
    joining: list[Recall] = []
    for recall in weights.recall:
        if recall.kind == "replay" and recall.prompt in groups and recall.prompt in stored:
            # With a replay the rows of its group have a gradient, so they cannot be replaced.
            left_R = dead_R & (outcome.prompt_R != recall.prompt)
            if int(left_R.sum()) > len(joining):
                joining.append(recall)
                dead_R = left_R
    anchors = [
        r for r in weights.recall if r.kind == "anchor" and r.slot < len(stored.get(r.prompt, ()))
    ]
    room = min(weights.most_anchors, int(dead_R.sum()) - len(joining))
    if weights.anchor_pick == "least" and len(anchors) > room > 0:
        order = least_likely(np.array([r.prompt for r in anchors], np.int64))
        anchors = [anchors[i] for i in order]
    joining += anchors[: max(0, room)]
    joining += _whole(weights.recall, stored, int(dead_R.sum()) - len(joining))
    if not joining:
        return None
    return Placed(tuple(joining), _shortest(dead_R, outcome)[: len(joining)])


def join_weights(
    replays: Sequence[Recall], prompt_R: IntArray, weight_R: FloatArray, keep_R: BoolArray
) -> FloatArray:
    """Weights of R rows, then of M replays, shape (R + M,).

    A replay (at most one per prompt) and its group are multiplied by the replay's factor. A replay gets
    the weight of the last kept row of its prompt, zero if there is none.
    """
    factor = {replay.prompt: replay.weight for replay in replays}
    factor_R = np.array([factor.get(prompt, 1.0) for prompt in prompt_R.tolist()], np.float64)
    joined_R = weight_R * factor_R
    weight_of = dict(zip(prompt_R[keep_R].tolist(), joined_R[keep_R].tolist(), strict=True))
    weight_M = np.array([weight_of.get(replay.prompt, 0.0) for replay in replays], np.float64)
    return np.concatenate([joined_R, weight_M])


def _whole(recalls: Sequence[Recall], stored: Mapping[int, Sequence[object]], room: int) -> list[Recall]:
    """The rollouts of recalled groups that fit whole into so many rows, in the order of the recalls."""
    joining: list[Recall] = []
    for recall in recalls:
        size = len(stored.get(recall.prompt, ())) if recall.kind == "group" else 0
        if len(joining) + size <= room:
            joining += [recall._replace(slot=slot) for slot in range(size)]
    return joining


def _shortest(dead_R: BoolArray, outcome: Outcome) -> IntArray:
    rows = np.flatnonzero(dead_R)
    if outcome.tokens_R is None:
        return rows
    return rows[np.argsort(outcome.tokens_R[rows], kind="stable")]
