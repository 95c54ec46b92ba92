"""Where the adapter reaches into verl: the one call that turns scores into advantages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import verl.trainer.ppo.v1.trainer_base as verl_trainer

_NAME = "compute_advantage_for_multi_trajectories"


@contextmanager
def after_advantages(then: Callable[[Any, list[str]], None]) -> Iterator[None]:
    """Within the block, call `then` with the batch and its keys when verl has computed advantages.

    The scores, masks and advantages are in the driver's memory there. Reading and writing them through
    the transfer queue afterwards would cost two more round trips for every row.

    Args:
        then: Gets verl's `DataProto` and the row keys; may change the advantages in place.
    """
    compute = getattr(verl_trainer, _NAME)

    def computed(data: Any, *args: Any, **kwargs: Any) -> Any:
        keys = kwargs["batch_keys"]
        data = compute(data, *args, **kwargs)
        then(data, keys)
        return data

    setattr(verl_trainer, _NAME, computed)
    try:
        yield
    finally:
        setattr(verl_trainer, _NAME, compute)
