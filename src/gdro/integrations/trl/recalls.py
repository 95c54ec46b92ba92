"""The tensors that carry recalled rollouts in TRL's batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gdro.errors import UnsupportedError
from gdro.integrations.trl.losses import ADVANTAGE, ROW
from gdro.integrations.trl.padding import padding_of, rounded, widened
from gdro.memory.store import StoredRollout
from gdro.numerics.arrays import IntArray

LOGPS = ("old_per_token_logps", "sampling_per_token_logps")
_KNOWN = {
    *LOGPS, "prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages",
    "importance_sampling_ratio", ROW, ADVANTAGE,
}  # fmt: skip


def tensors(
    rollouts: Sequence[StoredRollout], pad_id: int, multiple: int | None, device: torch.device
) -> dict[str, torch.Tensor]:
    """TRL's padded tensors of stored rollouts: prompt_ids, completion_ids and their masks.

    Args:
        rollouts: M of them.
        pad_id: Token that pads.
        multiple: Widths are multiples of it (`pad_to_multiple_of` of GRPOConfig); None: any.
        device: Where the tensors go.

    Returns:
        Four tensors of M rows, by TRL's names.
    """

    def padded(rows: list[npt.NDArray[np.int32]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = rounded(max(map(len, rows)), multiple)
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
    rows = rows.to(into.dtype)
    if into.ndim > 1:
        value, left = padding_of(name, pad_id)
        width = max(into.shape[1], rows.shape[1])
        into, rows = (widened(x, width, value, left) for x in (into, rows))
    made = into.clone()
    made[where] = rows
    return made
