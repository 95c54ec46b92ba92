"""One batch out of several rounds of generation: which rows the loss takes, and from which rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gdro.integrations.trl.padding import padding_of, widened
from gdro.numerics.arrays import BoolArray, IntArray


def chosen_rows(keep_R: BoolArray, num_rows: int) -> IntArray:
    """The rows that fill the loss: those kept, then dropped ones (of advantage zero) up to the total.

    Args:
        keep_R: Rows to keep, shape (R,), at most `num_rows` of them.
        num_rows: Rows that the trainer expects, at most R.

    Returns:
        Row numbers, increasing, shape (num_rows,).
    """
    order = np.argsort(~keep_R, kind="stable")
    return np.sort(order[:num_rows])


def select_rows(
    rounds: list[dict[str, Any]], chosen_R: IntArray, accelerator: Any, pad_id: int
) -> dict[str, Any]:
    """TRL's batch of this rank, from the batches of all rounds and ranks.

    Args:
        rounds: Outputs of `_generate_and_score_completions` on this rank, oldest first.
        chosen_R: Rows to take; they are numbered by round, then rank, then place, shape (rows,).
        accelerator: The trainer's; rows move between ranks where there are several.
        pad_id: Token that pads.

    Returns:
        A batch of the same keys with this rank's share of the rows.

    Raises:
        UnsupportedError: A tensor with a second axis is none of TRL's.
    """
    share = len(chosen_R) // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    chosen = torch.as_tensor(chosen_R, device=rounds[0]["completion_ids"].device)
    merged: dict[str, Any] = {}
    num_items = torch.zeros((), dtype=torch.long)
    for name, first in rounds[0].items():
        if not torch.is_tensor(first) or first.ndim == 0:
            merged[name] = first
            continue
        value, left = padding_of(name, pad_id) if first.ndim > 1 else (0, False)
        parts = [_gathered(r[name], accelerator, value, left) for r in rounds]
        width = max(part.shape[1] for part in parts) if first.ndim > 1 else 0
        rows = torch.cat([widened(part, width, value, left) for part in parts])
        merged[name] = rows[chosen][mine]
        if name == "completion_mask":
            num_items = rows[chosen].sum()
    # Tools are refused, so the loss is over all completion tokens of the chosen rows.
    merged["num_items_in_batch"] = num_items
    return merged


def _gathered(rows: torch.Tensor, accelerator: Any, value: float, left: bool) -> torch.Tensor:
    if accelerator.num_processes == 1:
        return rows
    if rows.ndim > 1:
        rows = accelerator.pad_across_processes(rows, dim=1, pad_index=value, pad_first=left)
    return accelerator.gather(rows.contiguous())
