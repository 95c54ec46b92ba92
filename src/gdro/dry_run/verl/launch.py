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
# Ray would start a process ahead for each of the CPUs that it is told of.
_LATE = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}


def cpu_overrides(ranks: int) -> list[str]:
    """What every run on a CPU needs, whatever it trains."""
    model, rollout = "actor_rollout_ref.model", "actor_rollout_ref.rollout"
    actor = "actor_rollout_ref.actor"
    return [
        "trainer.device=cpu", "trainer.nnodes=1", f"trainer.n_gpus_per_node={ranks}",
        f"{rollout}.name=gdro_cpu", f"{rollout}.mode=async", f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.agent.num_workers=1", "reward.num_workers=1", "data.dataloader_num_workers=0",
        f"{actor}.strategy=fsdp2", f"{actor}.fsdp_config.strategy=fsdp2",
        f"{actor}.use_torch_compile=False", f"{actor}.fsdp_config.use_torch_compile=False",
        f"{actor}.fsdp_config.dtype=float32", f"++{actor}.fsdp_config.mixed_precision.param_dtype=fp32",
        f"{model}.use_remove_padding=False", f"{model}.enable_gradient_checkpointing=False",
        f"++{model}.override_config.attn_implementation=sdpa",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        # Ray counts these and reserves nothing; with the machine's own few CPUs it would wait for ever.
        f"++ray_kwargs.ray_init.num_gpus={ranks}", "ray_kwargs.ray_init.num_cpus=32",
        "++ray_kwargs.ray_init.include_dashboard=False",
    ]  # fmt: skip


def environment(given: Mapping[str, str], plugins: Sequence[str] = PLUGINS) -> dict[str, str]:
    """Environment of the process, and so of Ray's workers; plugins that are set already stay."""
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
    """Start `main_ppo`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "verl.trainer.main_ppo",
        *overrides,
        f"hydra.run.dir={folder.absolute()}",
    ]
    given = environment({**os.environ, **(variables or {})}, plugins)
    if metrics is not None:
        given["VERL_FILE_LOGGER_PATH"] = str(metrics)
    # Hydra and verl write the whole configuration, and print it with every interpolation resolved.
    with log.open("wb") as out:
        log.chmod(0o600)
        return subprocess.Popen(
            command, env=given, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, umask=0o077
        )
