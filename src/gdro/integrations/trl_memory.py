"""Recalled rollouts in TRL's batch: which find a place, and the tensors that carry them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object

from gdro.integrations.rollout_store import RolloutStore, StoredRollout
from gdro.integrations.trl_support import UnsupportedError
from gdro.types import BoolArray, IntArray, Outcome, Recall, Weights

_LEFT = ("prompt_ids", "prompt_mask")
_KNOWN = {
    *_LEFT, "completion_ids", "completion_mask", "advantages", "old_per_token_logps",
    "sampling_per_token_logps", "importance_sampling_ratio", "gdro_row", "gdro_advantage",
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
    def replays(self) -> int:
        """How many of them, the first ones, are replays."""
        return sum(r.kind == "replay" for r in self.recalls)

    @property
    def tokens(self) -> int:
        """Answer tokens that are trained on again."""
        return sum(len(r.completion_ids) for r in self.rollouts)


def check_memory(args: Any) -> None:
    """Refuse trainer options that recalled rows would break.

    Args:
        args: The GRPOConfig.

    Raises:
        UnsupportedError: With the reason.
    """
    if args.beta != 0.0:
        raise UnsupportedError(
            f"memory with beta={args.beta} is not supported: with a KL term every row has a gradient, so "
            "none can make room for a remembered one; set beta=0.0 or leave memory out"
        )
    if args.multi_objective_aggregation != "sum_then_normalize":
        raise UnsupportedError(
            "memory needs multi_objective_aggregation='sum_then_normalize': with the other, groups that "
            "agree have a gradient too, so none can make room"
        )


def places(
    weights: Weights,
    outcome: Outcome,
    advantage_R: torch.Tensor,
    store: RolloutStore,
    chosen_R: IntArray,
    likelihood: Callable[[Sequence[StoredRollout]], IntArray],
) -> Joining | None:
    """Find places for what a strategy recalls: rows without gradient, the shortest answers first.

    Args:
        weights: The controller's.
        outcome: All rows.
        advantage_R: Their advantages, shape (R,).
        store: Where the tokens are.
        chosen_R: Rows that the loss takes, shape (rows,).
        likelihood: Orders rollouts by their likelihood now, the least likely first.

    Returns:
        What joins, or None if nothing does.
    """
    dead_R = np.zeros(len(outcome.prompt_R), bool)
    dead_R[chosen_R] = (advantage_R.abs() <= _NO_GRADIENT).cpu().numpy()[chosen_R]
    known = [(r, s) for r in weights.recall if (s := store.get(r.prompt)) is not None]
    joining: list[tuple[Recall, StoredRollout]] = []
    for recall, rollout in known:
        if recall.kind == "replay":
            # The rows of a group that is replayed have a gradient then: they are no places.
            left_R = dead_R & (outcome.prompt_R != recall.prompt)
            if int(left_R.sum()) > len(joining):
                joining.append((recall, rollout))
                dead_R = left_R
    anchors = [(r, s) for r, s in known if r.kind == "anchor"]
    room = min(weights.most_anchors, int(dead_R.sum()) - len(joining))
    if anchors and room > 0:
        order = range(len(anchors)) if len(anchors) <= room else likelihood([s for _, s in anchors])
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
    batch: dict[str, Any],
    rows: dict[str, torch.Tensor],
    position_M: IntArray,
    logps: torch.Tensor | None,
    pad_id: int,
) -> dict[str, Any]:
    """A batch of this rank with some rows replaced by recalled ones.

    Args:
        batch: TRL's batch.
        rows: The recalled rows of this rank, from `tensors`.
        position_M: The rows that they replace, shape (M,).
        logps: Their log-probabilities under the current policy, shape (M, T), where the batch has old
            ones: recalled rows then start on policy.
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
    values = dict(rows)
    if logps is not None:
        values |= {"old_per_token_logps": logps, "sampling_per_token_logps": logps}
    made = dict(batch)
    where = torch.as_tensor(position_M, device=rows["prompt_ids"].device)
    for name in found:
        if name == "importance_sampling_ratio":
            made[name] = batch[name].clone()
            made[name][where] = 1.0
        elif name in values:
            made[name] = _written(batch[name], values[name], where, pad_id, name)
    return made


def _written(
    into: torch.Tensor, rows: torch.Tensor, where: torch.Tensor, pad_id: int, name: str
) -> torch.Tensor:
    padding = pad_id if name.endswith("_ids") else 0
    width = max(into.shape[1], rows.shape[1])

    def widened(x: torch.Tensor) -> torch.Tensor:
        missing = width - x.shape[1]
        return F.pad(x, (missing, 0) if name in _LEFT else (0, missing), value=padding)

    made = widened(into).clone()
    made[where] = widened(rows).to(made.dtype)
    return made


def remember(
    store: RolloutStore,
    weights: Weights,
    outcome: Outcome,
    rewards_RK: torch.Tensor,
    batches: Sequence[dict[str, Any]],
    accelerator: Any,
) -> None:
    """Store the latest success of each prompt, on every rank alike.

    Args:
        store: Where to.
        weights: The controller's, with the rows worth it.
        outcome: All rows.
        rewards_RK: Their rewards, shape (R, K).
        batches: This rank's share of each round's rows.
        accelerator: The trainer's.
    """
    if weights.remember_R is None:
        return
    latest = {int(outcome.prompt_R[r]): int(r) for r in np.flatnonzero(weights.remember_R)}
    found: dict[int, tuple[list[int], list[int]]] = {}
    start = 0
    for batch in batches:
        local = len(batch["completion_ids"])
        mine = start + accelerator.process_index * local
        for row in latest.values():
            if mine <= row < mine + local:
                found[row] = _tokens(batch, row - mine)
        start += local * accelerator.num_processes
    if accelerator.num_processes > 1:
        found = {row: tokens for part in gather_object([found]) for row, tokens in part.items()}
    for prompt, row in latest.items():
        prompt_ids, completion_ids = (np.array(ids, np.int64) for ids in found[row])
        if len(completion_ids):  # a truncated answer may be masked out whole
            rewards_K = rewards_RK[row].float().cpu().numpy()
            store.put(prompt, StoredRollout(prompt_ids, completion_ids, rewards_K))


def _tokens(batch: dict[str, Any], row: int) -> tuple[list[int], list[int]]:
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
    return prompt.tolist(), answer.tolist()
