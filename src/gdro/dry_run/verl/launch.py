"""Run verl's own `main_ppo` on a CPU, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CPU = "gdro.dry_run.verl.cpu"
PLUGINS = (CPU, "gdro.integrations.verl")
_SINGLE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "HYDRA_FULL_ERROR": "1"}
# Otherwise Ray starts a process for each of its CPUs in advance.
_LATE = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
# Ray counts its CPUs and reserves nothing; with the machine's own few it would wait for ever.
_CPU_OVERRIDES = """
trainer.device=cpu
trainer.nnodes=1
actor_rollout_ref.rollout.name=gdro_cpu
actor_rollout_ref.rollout.mode=async
actor_rollout_ref.rollout.tensor_model_parallel_size=1
actor_rollout_ref.rollout.agent.num_workers=1
reward.num_workers=1
data.dataloader_num_workers=0
actor_rollout_ref.actor.strategy=fsdp2
actor_rollout_ref.actor.fsdp_config.strategy=fsdp2
actor_rollout_ref.actor.use_torch_compile=False
actor_rollout_ref.actor.fsdp_config.use_torch_compile=False
actor_rollout_ref.actor.fsdp_config.dtype=float32
++actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32
actor_rollout_ref.model.use_remove_padding=False
actor_rollout_ref.model.enable_gradient_checkpointing=False
++actor_rollout_ref.model.override_config.attn_implementation=sdpa
transfer_queue.backend.SimpleStorage.num_data_storage_units=1
ray_kwargs.ray_init.num_cpus=32
++ray_kwargs.ray_init.address=local
++ray_kwargs.ray_init.include_dashboard=False
"""


def cpu_overrides(ranks: int) -> list[str]:
    """Hydra overrides of `main_ppo` for every run on a CPU, with `ranks` processes for the model."""
    return [
        *_CPU_OVERRIDES.split(),
        f"trainer.n_gpus_per_node={ranks}",
        f"++ray_kwargs.ray_init.num_gpus={ranks}",
    ]


def environment(given: Mapping[str, str], plugins: Sequence[str] = PLUGINS) -> dict[str, str]:
    """Variables for the process, which Ray's workers inherit; the user's own plugins stay."""
    own = [name for name in given.get("VERL_USE_EXTERNAL_MODULES", "").split(",") if name]
    modules = dict.fromkeys([*plugins, *own])
    cpu = {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": ",".join(modules)}
    return {**given, **_SINGLE, **_QUIET, **_LATE, **cpu}


def start(
    overrides: Sequence[str],
    folder: Path,
    log: Path,
    plugins: Sequence[str] = PLUGINS,
    metrics: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `main_ppo` as the leader of a process group; it prints to `log`.

    Hydra writes to `folder`, and verl's `file` logger to `metrics`. The working directory stays the
    caller's, so that relative paths and modules mean the same as in a run without gdro.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *overrides]
    command.append(f"hydra.run.dir={folder.absolute()}")
    given = environment({**os.environ, **(variables or {})}, plugins)
    if metrics is not None:
        given["VERL_FILE_LOGGER_PATH"] = str(metrics)
    # Private files: Hydra and verl write and print the whole configuration, secrets included.
    with log.open("wb") as out:
        log.chmod(0o600)
        return subprocess.Popen(
            command, env=given, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, umask=0o077
        )
