"""What the adapter corrects in the trainer's logs, and the check that ranks agree."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import gather_object

from gdro.errors import DivergenceError


def patch_logs(trainer: Any, advantage_R: torch.Tensor, zero_R: torch.Tensor) -> None:
    """Replace what TRL logged from groups of one.

    Args:
        trainer: The trainer.
        advantage_R: Advantages of all generated rows, shape (R,).
        zero_R: Whether the row's group agrees, shape (R,).
    """
    trainer._metrics["train"]["frac_reward_zero_std"][-1] = zero_R.float().mean().item()
    logged = trainer._logs["advantages"]
    for _ in range(min(len(advantage_R), len(logged))):
        logged.pop()
    logged.extend(advantage_R.tolist())


def compare_ranks(trainer: Any) -> None:
    """Stop if controllers differ between ranks.

    Args:
        trainer: The trainer.

    Raises:
        DivergenceError: They differ.
    """
    if trainer.accelerator.num_processes == 1:
        return
    digests = gather_object([trainer.controller.digest()])
    if len(set(digests)) > 1:
        raise DivergenceError(
            f"controllers differ between ranks at step {trainer.state.global_step}: "
            f"{', '.join(digests)}; they must see the same rewards, so check that reward "
            "functions and datasets do not depend on the rank"
        )
