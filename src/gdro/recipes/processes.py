"""Several processes train a recipe; the first of them evaluates it, and the others wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=7)


def num_processes() -> int:
    """Number of processes that torchrun or accelerate started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the only process, or the one that writes files and prints."""
    return os.environ.get("RANK", "0") == "0"


def computed_once(compute: Callable[[], T]) -> T:
    """What the first process computes, in every process.

    All processes must call it. The result is that of one process: it does not depend on their number.
    The others wait without the trainer's limit on collective operations (`ddp_timeout`), because an
    evaluation may be longer than any step.

    Args:
        compute: Called in the first process alone.
    """
    if num_processes() == 1:
        return compute()
    import torch.distributed as dist

    # On the CPU, whatever the trainer's own group runs on.
    group: Any = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    result: list[Any] = [compute() if is_first() else None]
    dist.broadcast_object_list(result, src=0, group=group)
    dist.destroy_process_group(group)
    return result[0]
