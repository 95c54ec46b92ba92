"""Remembered rollouts of a study's run: what is stored, and how it joins an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gdro.memory.correction import decoupled
from gdro.memory.joining import rows_to_store
from gdro.numerics.arrays import BoolArray, FloatArray
from gdro.study.decoder import Decoder, Rollouts
from gdro.types import Correction, Outcome, Weights


@dataclass(frozen=True)
class StoredRow:
    """A remembered rollout.

    Attributes:
        tokens: Prompt and answer, shape (prompt + answer,).
        logp: Log-probability of each answer token when it was sampled, shape (answer,).
        mask: One on answer tokens, shape (answer,).
        advantage: Its advantage in its own step.
        lucky: Whether it counts as right though its work is wrong.
    """

    tokens: torch.Tensor
    logp: torch.Tensor
    mask: torch.Tensor
    advantage: float
    lucky: bool


def stored_rows(
    outcome: Outcome,
    weights: Weights,
    rollouts: Rollouts,
    advantage_R: FloatArray,
    lucky_R: BoolArray,
) -> dict[int, tuple[StoredRow, ...]]:
    """The rows to remember, by prompt."""
    return {
        prompt: tuple(
            StoredRow(
                rollouts.tokens_RT[row].clone(),
                rollouts.logp_RG[row].clone(),
                rollouts.mask_RG[row].clone(),
                float(advantage_R[row]),
                bool(lucky_R[row]),
            )
            for row in rows
        )
        for prompt, rows in rows_to_store(weights, outcome).items()
    }


def recalled_rows(
    stored: Sequence[StoredRow], correction: Correction, model: Decoder
) -> tuple[Rollouts, torch.Tensor | None]:
    """Recalled rows with the log-probabilities that the loss takes for the old ones; token factors."""
    tokens, then, mask = (
        torch.stack([getattr(row, name) for row in stored]) for name in ("tokens", "logp", "mask")
    )
    if correction == "clipped":
        return Rollouts(tokens, then, mask), None
    with torch.no_grad():
        now = model.logp(tokens) * mask
    if correction == "none":
        return Rollouts(tokens, now, mask), None
    factor = decoupled(now.double().numpy(), then.double().numpy())
    return Rollouts(tokens, now, mask), torch.from_numpy(factor.astype(np.float32))
