"""TRL's batches: how rows are padded, merged from several rounds, and replaced by recalled rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from gdro.errors import UnsupportedError
from gdro.integrations.trl.losses import ADVANTAGE, ROW
from gdro.integrations.trl.turns import loss_mask
from gdro.memory.store import StoredRollout
from gdro.numerics.arrays import BoolArray, IntArray

LOGPS = ("old_per_token_logps", "sampling_per_token_logps")


@dataclass(frozen=True)
class Padding:
    """The value that pads a row (None: the tokenizer's padding token) and the side that it is on."""

    value: float | None
    left: bool = False


# As in `GRPOTrainer._generate_and_score_completions`. The importance sampling ratio is exp(0): the loss
# `vespo` multiplies the ratios of a row without the mask, so a zero would remove the row's gradient.
PADDINGS = {
    "prompt_ids": Padding(None, left=True),
    "prompt_mask": Padding(0, left=True),
    "completion_ids": Padding(None),
    "completion_mask": Padding(0),
    "tool_mask": Padding(1),
    "old_per_token_logps": Padding(0),
    "sampling_per_token_logps": Padding(0),
    "ref_per_token_logps": Padding(0),
    "importance_sampling_ratio": Padding(1),
}
# Tensors that recalled rollouts have values for: the advantages, and those of PADDINGS but this one.
_RECALLED = {*PADDINGS, "advantages", ROW, ADVANTAGE} - {"ref_per_token_logps"}


def padding_of(name: str, pad_id: int) -> tuple[float, bool]:
    """Value and side (True: left) of the padding of one of TRL's tensors, as `widened` takes them.

    Raises:
        UnsupportedError: TRL pads no tensor of this name.
    """
    if name not in PADDINGS:
        raise UnsupportedError(
            f"the batch holds {name!r}, whose rows gdro does not know how to pad; it knows "
            f"{', '.join(PADDINGS)}. Leave out memory and strategies that sample on (dapo, speed, "
            "reinforce-ada), or give each row one number"
        )
    padding = PADDINGS[name]
    return (pad_id if padding.value is None else padding.value), padding.left


def widened(rows: torch.Tensor, width: int, value: float, left: bool) -> torch.Tensor:
    """Rows padded to a width on one side; tensors of one axis are returned as they are."""
    if rows.ndim == 1:
        return rows
    missing = width - rows.shape[1]
    return F.pad(rows, (missing, 0) if left else (0, missing), value=value)


def chosen_rows(keep_R: BoolArray, num_rows: int) -> IntArray:
    """The `num_rows` rows that the loss takes, increasing: first those to keep, then dropped ones."""
    order = np.argsort(~keep_R, kind="stable")
    return np.sort(order[:num_rows])


def select_rows(
    rounds: list[dict[str, Any]], chosen_R: IntArray, accelerator: Any, pad_id: int
) -> dict[str, Any]:
    """This rank's share of the chosen rows, from the batches of all rounds (oldest first) and ranks.

    Rows are numbered by round, then rank, then place in the batch.

    Raises:
        UnsupportedError: TRL pads no tensor of one of the batch's names, or rounds have different ones.
    """
    _check_rounds(rounds)
    share = len(chosen_R) // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    chosen = torch.as_tensor(chosen_R, device=rounds[0]["completion_ids"].device)
    merged: dict[str, Any] = {}
    masks: dict[str, torch.Tensor] = {}
    for name, first in rounds[0].items():
        if not torch.is_tensor(first) or first.ndim == 0:
            merged[name] = first
            continue
        value, left = padding_of(name, pad_id) if first.ndim > 1 else (0, False)
        parts = [_gathered(r[name], accelerator, value, left) for r in rounds]
        width = max(part.shape[1] for part in parts) if first.ndim > 1 else 0
        rows = torch.cat([widened(part, width, value, left) for part in parts])
        merged[name] = rows[chosen][mine]
        if name in ("completion_mask", "tool_mask"):
            masks[name] = rows[chosen]
    if "completion_mask" in masks:
        merged["num_items_in_batch"] = loss_mask(masks).sum()
    return merged


def _check_rounds(rounds: list[dict[str, Any]]) -> None:
    names = [{name for name, value in r.items() if torch.is_tensor(value)} for r in rounds]
    missing = set.union(*names) - set.intersection(*names)
    if missing:
        raise UnsupportedError(
            f"some rounds of generation have {', '.join(sorted(missing))} and others not; a rollout "
            "function must return the same fields (logprobs is a list each time, or None) every time"
        )


def _gathered(rows: torch.Tensor, accelerator: Any, value: float, left: bool) -> torch.Tensor:
    if accelerator.num_processes == 1:
        return rows
    if rows.ndim > 1:
        rows = accelerator.pad_across_processes(rows, dim=1, pad_index=value, pad_first=left)
    return accelerator.gather(rows.contiguous())


def padded_tensors(
    rollouts: Sequence[StoredRollout], pad_id: int, multiple: int | None, device: torch.device
) -> dict[str, torch.Tensor]:
    """Stored rollouts as TRL's tensors: prompt_ids, completion_ids, their masks, and tool_mask.

    Widths are multiples of `multiple` (`pad_to_multiple_of` of GRPOConfig), if that is not None.
    """

    def padded(name: str, rows: list[npt.NDArray[np.int32]]) -> tuple[torch.Tensor, BoolArray]:
        length_M, column = np.array([len(row) for row in rows]), np.arange(width_of(rows))
        start_M = len(column) - length_M if PADDINGS[name].left else np.zeros_like(length_M)
        mask_MW = (column >= start_M[:, None]) & (column < (start_M + length_M)[:, None])
        return filled(mask_MW, np.full(mask_MW.shape, pad_id), rows), mask_MW

    def width_of(rows: list[npt.NDArray[np.int32]]) -> int:
        width = max(map(len, rows))
        return -(-width // multiple) * multiple if multiple else width

    def filled(mask_MW: BoolArray, value_MW: IntArray, rows: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        value_MW[mask_MW] = np.concatenate(rows)
        return torch.from_numpy(value_MW).to(device)

    prompt_ids, asked_MW = padded("prompt_ids", [r.prompt_ids for r in rollouts])
    completion_ids, answered_MW = padded("completion_ids", [r.completion_ids for r in rollouts])
    ones_MW = np.ones(answered_MW.shape, np.int64)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": torch.from_numpy(asked_MW.astype(np.int64)).to(device),
        "completion_ids": completion_ids,
        "completion_mask": torch.from_numpy(answered_MW.astype(np.int64)).to(device),
        "tool_mask": filled(answered_MW, ones_MW, [r.own for r in rollouts]),
    }


def replace_rows(
    batch: dict[str, Any], rows: dict[str, torch.Tensor], position_M: IntArray, pad_id: int
) -> dict[str, Any]:
    """A copy of this rank's batch in which recalled rollouts replace the rows at `position_M`.

    Raises:
        UnsupportedError: The batch holds a tensor that recalled rollouts have no values for.
    """
    names = {n for n, v in batch.items() if torch.is_tensor(v) and v.ndim > 0}
    if names - _RECALLED:
        raise UnsupportedError(
            f"memory cannot fill the batch's {', '.join(sorted(names - _RECALLED))}; leave memory out"
        )
    where = torch.as_tensor(position_M, device=batch["completion_ids"].device)
    return batch | {n: _replaced(batch[n], rows[n], where, pad_id, n) for n in names}


def _replaced(
    into: torch.Tensor, rows: torch.Tensor, where: torch.Tensor, pad_id: int, name: str
) -> torch.Tensor:
    rows = rows.to(into.dtype)
    if into.ndim > 1:
        value, left = padding_of(name, pad_id)
        width = max(into.shape[1], rows.shape[1])
        into, rows = (widened(x, width, value, left) for x in (into, rows))
    result = into.clone()
    result[where] = rows
    return result
