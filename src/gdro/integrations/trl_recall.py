"""Recalled rollouts in TRL's batch: which find a place, and the tensors that carry them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gdro.integrations.rollout_store import RolloutStore, StoredRollout
from gdro.integrations.trl_losses import ADVANTAGE, ROW
from gdro.integrations.trl_rows import LEFT, widened
from gdro.integrations.trl_score import Replays
from gdro.integrations.trl_support import UnsupportedError
from gdro.types import BoolArray, IntArray, Outcome, Recall, Weights

LOGPS = ("old_per_token_logps", "sampling_per_token_logps")
_KNOWN = {
    *LEFT, *LOGPS, "completion_ids", "completion_mask", "advantages",
    "importance_sampling_ratio", ROW, ADVANTAGE,
}  # fmt: skip
_NO_GRADIENT = 1e-6


@dataclass(frozen=True)
class Joining:
    """Recalled rollouts that found a place.

    Attributes:
        recalls: What joins, replays first.
        rollouts: Their tokens and rewards.
        row_M: The row of the outcome that each one replaces, shape (M,).
    """

    recalls: tuple[Recall, ...]
    rollouts: tuple[StoredRollout, ...]
    row_M: IntArray

    @property
    def num_replays(self) -> int:
        """How many of them, the first ones, are replays."""
        return sum(r.kind == "replay" for r in self.recalls)

    @property
    def replays(self) -> Replays | None:
        """The replays as scoring takes them."""
        num = self.num_replays
        if not num:
            return None
        prompts = np.array([r.prompt for r in self.recalls[:num]], np.int64)
        return Replays(prompts, np.stack([r.rewards_K for r in self.rollouts[:num]]))

    @property
    def tokens(self) -> int:
        """Answer tokens that are trained on again."""
        return sum(len(r.completion_ids) for r in self.rollouts)


def places(
    weights: Weights,
    outcome: Outcome,
    advantage_R: torch.Tensor,
    store: RolloutStore,
    chosen_R: IntArray,
    least_likely: Callable[[Sequence[StoredRollout]], Sequence[int]],
) -> Joining | None:
    """Find places for what a strategy recalls: rows without gradient, the shortest answers first.

    Args:
        weights: The controller's.
        outcome: All rows.
        advantage_R: Their advantages, shape (R,).
        store: Where the tokens are.
        chosen_R: Rows that the loss takes, shape (rows,).
        least_likely: Numbers of rollouts by their likelihood now, the least likely first.

    Returns:
        What joins, or None if nothing does.
    """
    live_R = np.zeros(len(outcome.prompt_R), bool)
    live_R[chosen_R] = True
    dead_R = live_R & (advantage_R.abs() <= _NO_GRADIENT).cpu().numpy()
    # A group that was dropped, or weighs nothing, has nothing that a replay could be compared with.
    open_R = live_R & weights.keep_R & (weights.weight_R != 0) & outcome.valid_mask_R
    groups = set(outcome.prompt_R[open_R].tolist())
    known = [(r, s) for r in weights.recall if (s := store.get(r.prompt)) is not None]
    joining: list[tuple[Recall, StoredRollout]] = []
    for recall, rollout in known:
        if recall.kind == "replay" and recall.prompt in groups:
            # The rows of a group that is replayed have a gradient then: they are no places.
            left_R = dead_R & (outcome.prompt_R != recall.prompt)
            if int(left_R.sum()) > len(joining):
                joining.append((recall, rollout))
                dead_R = left_R
    anchors = [(r, s) for r, s in known if r.kind == "anchor"]
    room = min(weights.most_anchors, int(dead_R.sum()) - len(joining))
    if anchors and room > 0:
        few = len(anchors) <= room
        order = range(len(anchors)) if few else least_likely([s for _, s in anchors])
        joining += [anchors[i] for i in list(order)[:room]]
    if not joining:
        return None
    rows = _shortest(dead_R, outcome)[: len(joining)]
    return Joining(tuple(r for r, _ in joining), tuple(s for _, s in joining), rows)


def _shortest(dead_R: BoolArray, outcome: Outcome) -> IntArray:
    assert outcome.tokens_R is not None
    rows = np.flatnonzero(dead_R)
    return rows[np.argsort(outcome.tokens_R[rows], kind="stable")]


def tensors(
    rollouts: Sequence[StoredRollout], pad_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """TRL's padded tensors of stored rollouts: prompt_ids, completion_ids and their masks."""

    def padded(rows: list[IntArray], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for m, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[m, place], mask[m, place] = torch.from_numpy(row.copy()), 1
        return ids.to(device), mask.to(device)

    prompt_ids, prompt_mask = padded([r.prompt_ids for r in rollouts], left=True)
    completion_ids, completion_mask = padded([r.completion_ids for r in rollouts], left=False)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
    }


def replaced(
    batch: dict[str, Any], rows: dict[str, torch.Tensor], position_M: IntArray, pad_id: int
) -> dict[str, Any]:
    """A batch of this rank with some rows replaced by recalled ones.

    Args:
        batch: TRL's batch.
        rows: Values of the recalled rows for every tensor of the batch that has rows.
        position_M: The batch's rows that they replace, shape (M,).
        pad_id: Token that pads.

    Returns:
        A new batch.

    Raises:
        UnsupportedError: The batch holds a tensor that recalled rows cannot fill.
    """
    found = {n for n, v in batch.items() if torch.is_tensor(v) and v.ndim > 0}
    if found - _KNOWN:
        raise UnsupportedError(
            f"memory cannot fill the batch's {', '.join(sorted(found - _KNOWN))}; leave memory out"
        )
    made = dict(batch)
    where = torch.as_tensor(position_M, device=batch["completion_ids"].device)
    for name in found:
        made[name] = _written(batch[name], rows[name], where, pad_id, name)
    return made


def _written(
    into: torch.Tensor, rows: torch.Tensor, where: torch.Tensor, pad_id: int, name: str
) -> torch.Tensor:
    padding = pad_id if name.endswith("_ids") else 0
    rows = rows.to(into.dtype)
    if into.ndim > 1:
        width = max(into.shape[1], rows.shape[1])
        into, rows = (widened(x, width, padding, name in LEFT) for x in (into, rows))
    made = into.clone()
    made[where] = rows
    return made
