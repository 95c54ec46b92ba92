"""The supervised loop that trains warm starts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from gdro.common.progress import bar


def teach(
    model: torch.nn.Module, next_loss: Callable[[], torch.Tensor], num_steps: int, rate: float
) -> None:
    """Minimise a loss with AdamW: 50 steps of warm-up, cosine decay to a twentieth, clipped gradients.

    Args:
        model: Trained in place.
        next_loss: Draws a batch and gives its loss.
        num_steps: Optimiser steps.
        rate: Peak learning rate.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in (shown := bar(range(num_steps), desc="warm start")):
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * decay
        loss = next_loss()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            shown.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
