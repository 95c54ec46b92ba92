"""Replacements in a user's configuration for a dry run: smaller sizes, and a CPU's options."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdro.dry_run.sample_rows import few_rows
from gdro.dry_run.verl.launch import cpu_overrides
from gdro.errors import DryRunError
from gdro.tasks.tiny_model import save_tiny

RANKS = 2
_PROMPTS = 8
_SIZES = """
++actor_rollout_ref.model.use_liger=False
++actor_rollout_ref.model.use_fused_kernels=False
++actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2
++actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2
++actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=2
++actor_rollout_ref.actor.fsdp_config.param_offload=False
++actor_rollout_ref.actor.fsdp_config.optimizer_offload=False
++actor_rollout_ref.ref.fsdp_config.param_offload=False
++actor_rollout_ref.ref.fsdp_config.dtype=float32
++actor_rollout_ref.actor.ulysses_sequence_parallel_size=1
++actor_rollout_ref.ref.ulysses_sequence_parallel_size=1
++actor_rollout_ref.ref.strategy=fsdp2
++actor_rollout_ref.ref.fsdp_config.use_torch_compile=False
++actor_rollout_ref.ref.fsdp_config.mixed_precision.param_dtype=fp32
"""
# Nothing is written to the folders of the user's own runs.
_SCHEDULE = """
trainer.total_epochs=1000
trainer.val_before_train=False
trainer.resume_mode=disable
trainer.logger=[console,file]
trainer.default_hdfs_dir=null
++trainer.rollout_data_dir=null
++trainer.validation_data_dir=null
++trainer.val_only=False
global_profiler.steps=null
"""
_OWN_SCHEDULE = "++gdro.poll_interval=0.05 ++gdro.log=null ++gdro.resume=exact"


@dataclass
class Tiny:
    """A user's configuration made tiny.

    Attributes:
        overrides: Hydra overrides of `main_ppo`: the user's, then ours.
        model: Name of the model's class.
        notes: Sentences on what was replaced, for the user.
    """

    overrides: list[str]
    model: str
    notes: list[str] = field(default_factory=list)


def composed(overrides: Sequence[str]) -> Any:
    """verl's configuration with a user's overrides.

    Raises:
        DryRunError: verl is not installed, or it refuses an override.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    flags = [override for override in overrides if override.startswith("-")]
    if flags:
        raise DryRunError(f"{flags[0]!r} is no Hydra override; write key=value after the --")
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise DryRunError("verl is not installed here; make an environment for it: make setup-verl")
    folder = Path(spec.submodule_search_locations[0]) / "trainer/config"
    try:
        with initialize_config_dir(str(folder), version_base=None):
            return compose("ppo_trainer", list(overrides))
    except (HydraException, OmegaConfBaseException) as problem:
        raise DryRunError(f"verl refuses the overrides: {problem}") from problem


def tiny(given: Sequence[str], folder: Path, stub: str | None, steps: int, answer: int) -> Tiny:
    """Shrink the run of a user's overrides to `steps` steps with answers of at most `answer` tokens.

    Model (see `save_tiny` for `stub`), rows and outputs are written to `folder`.

    Raises:
        DryRunError: A CPU cannot run the configuration.
    """
    config = composed(given)
    _refuse(config)
    folder.mkdir(parents=True, exist_ok=True)
    model = config.actor_rollout_ref.model
    name = model.path
    tokenizer, kind = save_tiny(folder / "model", name, stub, bool(model.get("trust_remote_code")))
    rows = max(2 * _PROMPTS, RANKS)
    key = config.data.prompt_key
    longest = few_rows(_files(config.data.train_files), key, tokenizer, rows, folder / "train.parquet")
    held = few_rows(_files(config.data.val_files), key, tokenizer, RANKS, folder / "val.parquet")
    width = max(longest, held)
    updates = max(
        1, min(4, config.data.train_batch_size // config.actor_rollout_ref.actor.ppo_mini_batch_size)
    )
    notes = [
        f"model: {name} became a random {kind} of two layers"
        + (f", tokenizer: bytes (--stub {stub})" if stub else ", tokenizer: its own"),
        f"data: {rows} and {RANKS} of the first rows, those with the shortest prompts",
        f"sizes: {_PROMPTS} prompts a step for {config.data.train_batch_size}, {updates} optimiser "
        f"steps, prompts of {width} and answers of {answer} tokens for "
        f"{config.data.max_response_length}",
        f"hardware: {RANKS} processes on the CPU, FSDP2 on gloo, float32; rollouts by transformers for "
        f"{config.actor_rollout_ref.rollout.name}",
    ]
    ours = _sizes(folder, width, answer, updates) + _schedule(config, folder, steps)
    ours += _drawn(config, notes)
    if model.lora_rank > 0 or model.lora.rank > 0:
        ours.append("++actor_rollout_ref.model.lora.merge=True")
        notes.append("LoRA: merged into the weights that the rollouts get")
    return Tiny([*given, *cpu_overrides(RANKS), *ours], kind, notes)


def _refuse(config: Any) -> None:
    from omegaconf import OmegaConf

    strategy, trainer = config.actor_rollout_ref.actor.strategy, config.trainer
    mode = trainer.v1.trainer_mode
    critic = config.critic.enable
    if critic is None:
        critic = config.algorithm.adv_estimator == "gae"
    nameless = OmegaConf.is_missing(config.actor_rollout_ref.rollout, "name")
    checks = {
        "trainer.use_v1=false: the dry run knows verl's V1 trainer; leave it out": not trainer.use_v1,
        f"trainer.v1.trainer_mode={mode}: the dry run knows synchronous modes; set it to "
        f"{'gdro' if mode.startswith('gdro') else 'sync'} for the dry run": mode.endswith("_async"),
        "reward.reward_model.enable=true: the CPU has no server for a reward model; set it to false for "
        "the dry run": bool(config.reward.reward_model.enable),
        f"actor_rollout_ref.actor.strategy={strategy}: the CPU runs FSDP only; leave it out for the dry "
        "run": strategy not in ("fsdp", "fsdp2"),
        "a critic (algorithm.adv_estimator=gae or critic.enable=true): verl builds it with flash "
        "attention, which needs a GPU; take grpo for the dry run": bool(critic),
        "data.train_files: none is set": not config.data.get("train_files"),
        "actor_rollout_ref.rollout.name: none is set; verl wants one, e.g. vllm": nameless,
        "actor_rollout_ref.model.path: none is set": not config.actor_rollout_ref.model.get("path"),
    }
    refused = [reason for reason, wrong in checks.items() if wrong]
    if refused:
        raise DryRunError(f"the dry run cannot take {refused[0]}")


def _files(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(name) for name in given]


def _sizes(folder: Path, width: int, answer: int, updates: int) -> list[str]:
    return [
        *_SIZES.split(),
        f"actor_rollout_ref.model.path={folder}/model",
        f"data.train_files={folder}/train.parquet",
        f"data.val_files={folder}/val.parquet",
        f"data.train_batch_size={_PROMPTS}",
        f"data.max_prompt_length={width}",
        f"data.max_response_length={answer}",
        f"++data.val_batch_size={RANKS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={_PROMPTS // updates}",
        f"actor_rollout_ref.rollout.prompt_length={width}",
        f"actor_rollout_ref.rollout.response_length={answer}",
        f"++actor_rollout_ref.rollout.max_model_len={width + answer}",
    ]


def _drawn(config: Any, notes: list[str]) -> list[str]:
    """Overrides of options by which verl draws further prompts, which gdro's trainer refuses itself."""
    if config.get("gdro") or config.trainer.v1.trainer_mode == "gdro":
        same = config.data.get("gen_batch_size") == config.data.train_batch_size
        return [f"++data.gen_batch_size={_PROMPTS}"] if same else []
    ours, filtered = ["++data.gen_batch_size=null"], config.algorithm.get("filter_groups")
    if filtered and filtered.get("enable"):
        ours.append("++algorithm.filter_groups.enable=False")
        notes.append(
            "filtering: algorithm.filter_groups is off, for a random model's rewards are equal and verl "
            "would draw for ever"
        )
    return ours


def _schedule(config: Any, folder: Path, steps: int) -> list[str]:
    """Few steps, then a checkpoint, and an evaluation if the user's run has any."""
    evaluates = config.trainer.test_freq > 0 or config.trainer.get("val_before_train", True)
    return [
        *_SCHEDULE.split(),
        f"trainer.total_training_steps={steps}",
        f"trainer.save_freq={steps}",
        f"trainer.test_freq={steps if evaluates else -1}",
        f"trainer.default_local_dir={folder}/checkpoints",
        *(_OWN_SCHEDULE.split() if config.get("gdro") else []),
    ]
