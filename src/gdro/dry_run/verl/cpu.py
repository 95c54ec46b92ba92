"""verl on a CPU: a platform and a rollout replica, for dry runs and tests.

Set `VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=gdro.dry_run.verl.cpu,gdro.integrations.verl`,
`trainer.device=cpu` and `actor_rollout_ref.rollout.name=gdro_cpu`; `gdro.dry_run.verl.launch` does all
of it. verl looks up its platform when a trainer is imported. Ray gets one
logical GPU for each rank, which it only counts.
"""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import os
from functools import partial
from typing import Any

import wrapt

from gdro.dry_run.verl.platform import CpuPlatform

__all__ = ["ROLLOUT", "CpuPlatform"]

ROLLOUT = "gdro_cpu"

# verl's FSDP engines are registered for accelerators only, and run as they are on a CPU.
os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")


# Each module of verl is changed after its import, by the processes that import it.
@wrapt.when_imported("verl.utils.distributed")
def _gloo(distributed: Any) -> None:
    """verl names one backend for the CPU and one for the device; torch refuses if both are the CPU."""
    start = distributed.initialize_global_process_group_ray
    distributed.initialize_global_process_group_ray = partial(start, backend="gloo")


@wrapt.when_imported("verl.utils.fsdp_utils")
def _unpinned(fsdp_utils: Any) -> None:
    """verl offloads the reference model into pinned memory, which only an accelerator has."""

    class Unpinned(fsdp_utils.CPUOffloadPolicy):
        def __init__(self, pin_memory: bool = True) -> None:
            super().__init__(pin_memory=False)

    fsdp_utils.CPUOffloadPolicy = Unpinned


@wrapt.when_imported("verl.workers.rollout.base")
def _sender(base: Any) -> None:
    base._ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "gdro.dry_run.verl.replica.WeightSender"


@wrapt.when_imported("verl.workers.rollout.replica")
def _replica(replica: Any) -> None:
    def load() -> Any:
        from gdro.dry_run.verl.replica import CpuReplica

        return CpuReplica

    replica.RolloutReplicaRegistry.register(ROLLOUT, load)
