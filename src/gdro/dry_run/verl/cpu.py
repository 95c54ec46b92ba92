"""verl on a CPU: a platform and a rollout replica, for dry runs and tests.

Set `VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=gdro.dry_run.verl.cpu,gdro.integrations.verl`,
`trainer.device=cpu` and `actor_rollout_ref.rollout.name=gdro_cpu`; `gdro.dry_run.verl.launch` does all
of it. This module must come first: verl looks up its platform when a trainer is imported. Ray gets one
logical GPU for each rank, which it only counts.
"""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import os
from functools import partial
from typing import Any

from torch.distributed.fsdp import CPUOffloadPolicy

from gdro.dry_run.verl.platform import CpuPlatform

__all__ = ["ROLLOUT", "CpuPlatform"]

ROLLOUT = "gdro_cpu"


class _Unpinned(CPUOffloadPolicy):
    """Offloading to memory that is never pinned."""

    def __init__(self, pin_memory: bool = True) -> None:
        super().__init__(pin_memory=False)


def _replica() -> Any:
    from gdro.dry_run.verl.replica import CpuReplica

    return CpuReplica


def _install() -> None:
    # Imported late: these modules look up the platform, which is registered above.
    import verl.utils.distributed as distributed
    import verl.utils.fsdp_utils as fsdp_utils
    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    # verl's FSDP engines are registered for accelerators only, and run as they are on a CPU.
    os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
    # verl names one backend for the CPU and one for the device; torch refuses if both are the CPU.
    start = distributed.initialize_global_process_group_ray
    distributed.initialize_global_process_group_ray = partial(start, backend="gloo")
    # verl offloads the reference model into pinned memory, which only an accelerator has.
    fsdp_utils.CPUOffloadPolicy = _Unpinned
    base._ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "gdro.dry_run.verl.replica.WeightSender"
    RolloutReplicaRegistry.register(ROLLOUT, _replica)


_install()
