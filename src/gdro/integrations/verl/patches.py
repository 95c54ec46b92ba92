"""Functions of verl that the adapter replaces, for advantages and metrics."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

_TRAINER = "verl.trainer.ppo.v1.trainer_base"
_NAME = "compute_advantage_for_multi_trajectories"
_COMPARISON = "calculate_debug_metrics"


@contextmanager
def around_advantages(
    first_uid: Mapping[str, str], then: Callable[[Any, list[str]], None]
) -> Iterator[None]:
    """Inside, join uids to groups before verl computes advantages, and call `then` with its `DataProto`.

    `first_uid` has the uid of the group of each uid that belongs to another one's; `then` also gets the
    row keys, and may change the advantages in place. They are in the driver's memory here: through the
    transfer queue, reading and writing them would cost two more round trips for every row.
    """
    verl_trainer = import_module(_TRAINER)
    compute = getattr(verl_trainer, _NAME)

    def computed(data: Any, *args: Any, **kwargs: Any) -> Any:
        keys = kwargs["batch_keys"]
        if first_uid:
            uids = [first_uid.get(uid, uid) for uid in data.non_tensor_batch["uid"]]
            data.non_tensor_batch["uid"] = np.array(uids, dtype=object)
        data = compute(data, *args, **kwargs)
        then(data, keys)
        return data

    setattr(verl_trainer, _NAME, computed)
    try:
        yield
    finally:
        setattr(verl_trainer, _NAME, compute)


@contextmanager
def without_rows(rows: Sequence[int]) -> Iterator[None]:
    """Inside, verl compares the log-probabilities of rollouts and trainer on all but these rows."""
    verl_trainer = import_module(_TRAINER)
    measure = getattr(verl_trainer, _COMPARISON)

    def measured(data: Any) -> dict[str, Any]:
        mask = data.batch["response_mask"].clone()
        mask[list(rows)] = 0
        data.batch["response_mask"] = mask
        return measure(data)

    setattr(verl_trainer, _COMPARISON, measured)
    try:
        yield
    finally:
        setattr(verl_trainer, _COMPARISON, measure)
