"""Where the adapter reaches into verl: where scores become advantages, and Ray's environment."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import verl.trainer.constants_ppo as verl_constants
import verl.trainer.ppo.v1.trainer_base as verl_trainer

FORWARDED = ("VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM")
_NAME = "compute_advantage_for_multi_trajectories"


@contextmanager
def around_advantages(
    first_uid: Mapping[str, str], then: Callable[[Any, list[str]], None]
) -> Iterator[None]:
    """Within the block, say which rollouts are one group, and see advantages when they are computed.

    The scores, masks and advantages are in the driver's memory there. Reading and writing them through
    the transfer queue afterwards would cost two more round trips for every row.
    """
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


def forward_environment() -> None:
    """Tell Ray's workers which modules verl imports.

    Where `main_ppo` starts Ray itself they inherit it; workers of a cluster that runs already do not,
    and the trainer, which is one of them, would not know gdro.
    """
    environment = verl_constants.get_ppo_ray_runtime_env

    def forwarded(config: Any = None) -> dict[str, Any]:
        made = environment(config)
        found = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        return {**made, "env_vars": {**found, **made["env_vars"]}}

    verl_constants.get_ppo_ray_runtime_env = forwarded
