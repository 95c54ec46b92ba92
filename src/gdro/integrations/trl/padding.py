"""How TRL pads each tensor of a batch: one table for rows of several rounds and for recalled rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from gdro.errors import UnsupportedError


@dataclass(frozen=True)
class Padding:
    """What fills the missing places of a row, and on which side they are.

    Attributes:
        value: The filling; None is the tokenizer's padding token.
        left: Whether rows are padded on the left.
    """

    value: float | None
    left: bool = False


# As `GRPOTrainer._generate_and_score_completions` pads. A ratio is exp(0) there: with `vespo` the loss
# multiplies the ratios of a row without looking at the mask, so a zero would take the row's gradient.
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


def padding_of(name: str, pad_id: int) -> tuple[float, bool]:
    """Value and side (True: left) of the padding of one of TRL's tensors.

    Args:
        name: Key in TRL's batch.
        pad_id: The tokenizer's padding token.

    Returns:
        What `widened` takes.

    Raises:
        UnsupportedError: TRL pads no tensor of this name, so nobody knows how.
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
    """Rows padded to a width on one side; those without a second axis as they are."""
    if rows.ndim == 1:
        return rows
    missing = width - rows.shape[1]
    return F.pad(rows, (missing, 0) if left else (0, missing), value=value)


def rounded(width: int, multiple: int | None) -> int:
    """A width, or the next multiple above it (`pad_to_multiple_of` of GRPOConfig)."""
    return width if not multiple else -(-width // multiple) * multiple
