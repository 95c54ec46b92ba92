"""Options under `+gdro.*`, and checks of verl's options that the adapter cannot work with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gdro.difficulty.tracker import Difficulty, difficulty_of
from gdro.errors import StrategyError, UnsupportedError
from gdro.step.bounds import check_bounds
from gdro.strategies.registry import MEAN_ROLLOUTS, named, text_of
from gdro.strategy import Strategy

ESTIMATORS = (
    "grpo",
    "grpo_vectorized",
    "rloo",
    "rloo_vectorized",
    "opo",
    "gpg",
    "reinforce_plus_plus_baseline",
)
"""Advantage estimators that compare the rollouts of one prompt, in groups of any size."""

CENTRED = "grpo"
"""The one that verl's V1 trainer passes `norm_adv_by_std_in_grpo` to; false leaves reward - mean."""


MODES = {
    "sync": "gdro",
    "colocate_async": "gdro_colocate_async",
    "separate_async": "gdro_separate_async",
}
"""gdro's name of each `trainer.v1.trainer_mode` of verl."""


class Resume(StrEnum):
    """How a resumed run treats the controller of its checkpoint."""

    exact = "exact"
    match = "match"
    fresh = "fresh"


@dataclass
class VerlOptions:
    """Overrides under `+gdro.*`.

    Attributes:
        strategy: Name of a strategy, or names joined with `+`; `gdro` is the package's default.
        options: Options of the strategy.
        difficulty: Options of `gdro.Difficulty`.
        id: Field of a data row with a distinct id; dots separate keys of nested dictionaries.
        prior: Field with a known pass rate from 0 to 1; null: no field.
        correct: Key of the reward function's extra results that says whether a rollout is right; null:
            its score says so.
        threshold: A rollout is right if its score or its value under `correct` is above this.
        apply: False is shadow mode: plan, weigh and log, change nothing.
        seed: Seed of the controller's random choices.
        log: Folder of the run log; null: `gdro` in `trainer.default_local_dir`.
        resume: How a resumed run treats the controller of its checkpoint: `exact` demands the same data,
            `match` follows ids into changed data, `fresh` starts a new one, e.g. after stock verl.
        poll_interval: Seconds between checks of the replay buffer; null: verl's default of 2, in which
            small models wait.
        memory_bytes: Most bytes of tokens that a strategy with a memory keeps on the driver (1 GiB).
    """

    strategy: Any = "gdro"
    options: dict[str, Any] = field(default_factory=dict)
    difficulty: dict[str, Any] = field(default_factory=dict)
    id: str = "extra_info.index"
    prior: str | None = None
    correct: str | None = None
    threshold: float = 0.5
    apply: bool = True
    seed: int = 0
    log: str | None = None
    resume: Resume = Resume.exact
    poll_interval: float | None = None
    memory_bytes: int = 2**30

    def make(self, mean_rollouts: int = MEAN_ROLLOUTS) -> tuple[Strategy[Any], Difficulty]:
        """The strategy, and the options of difficulty.

        Args:
            mean_rollouts: Mean number of rollouts of a prompt (verl's `rollout.n`).

        Returns:
            Both objects, made from the options.

        Raises:
            StrategyError: A name or an option is wrong.
        """
        if self.memory_bytes < 1:
            raise StrategyError(
                f"+gdro.memory_bytes is {self.memory_bytes}; allowed: 1 or more (1,000 tokens take 4 kB)"
            )
        return named(self.strategy, self.options, mean_rollouts), difficulty_of(self.difficulty)


def options_of(config: DictConfig) -> VerlOptions:
    """Read `+gdro.*`.

    Raises:
        StrategyError: An option is unknown or of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(VerlOptions), config.get("gdro") or {})
        options = OmegaConf.to_object(merged)
    except OmegaConfBaseException as problem:
        raise StrategyError(
            f"+gdro: {str(problem).splitlines()[0]}; allowed: "
            f"{', '.join('+gdro.' + name for name in VerlOptions.__dataclass_fields__)}"
        ) from problem
    assert isinstance(options, VerlOptions)
    return options


def check_config(config: DictConfig, strategy: Strategy[Any], mode: str = "sync") -> None:
    """Refuse options of verl that cannot work, before anything is loaded.

    Args:
        config: verl's configuration.
        strategy: The strategy.
        mode: verl's own name of the trainer's mode.

    Raises:
        UnsupportedError: Says which option, and what to write instead.
        StrategyError: The strategy's bounds on a prompt's rollouts exclude `rollout.n`.
    """
    batch, generated = config.data.train_batch_size, config.data.get("gen_batch_size")
    sampler = config.trainer.v1.sampler
    given = _get(config.get("gdro"), "strategy")
    named_so = f"+gdro.strategy={text_of(given or VerlOptions.strategy)}"
    if not given:
        named_so += " (the default)"
    estimator = str(config.algorithm.adv_estimator)
    checks = {
        f"actor_rollout_ref.rollout.n={config.actor_rollout_ref.rollout.n}: a group of one has no "
        "advantage, so set it to 2 or more": config.actor_rollout_ref.rollout.n < 2,
        f"algorithm.adv_estimator={estimator}: it does not compare the rollouts of one prompt; allowed: "
        f"{', '.join(ESTIMATORS)}": estimator not in ESTIMATORS,
        "algorithm.filter_groups.enable=true: verl then draws prompts behind the controller's back; set "
        "it to false": bool(_get(config.algorithm.get("filter_groups"), "enable")),
        "trainer.v1.sampler.sync_refill_failed_groups=true: gdro uses what arrived of a failed group, "
        "or drops and counts it; set it to false": bool(sampler.get("sync_refill_failed_groups")),
        "trainer.v1.sampler.custom_sampler: gdro needs verl's own replay buffer; leave it out": bool(
            _get(sampler.get("custom_sampler"), "path")
        ),
        f"data.gen_batch_size={generated}: a plan is one batch of prompts; leave it out, or set it to "
        f"data.train_batch_size={batch}": mode == "sync" and generated not in (None, batch),
        "skip.rollout_tq.enable=true: its rollouts come from a file and not from the controller's plan; "
        "set it to false": bool(_get(_get(config.get("skip"), "rollout_tq"), "enable")),
        f"{named_so}: it needs each rollout's loss, which verl keeps in its "
        "workers; take another signal, e.g. +gdro.options.signal=failure": strategy.needs_loss,
    }
    checks |= _scale_checks(config, strategy, named_so)
    checks |= _extension_checks(config, strategy, named_so)
    checks |= _memory_checks(config, strategy, named_so)
    checks |= _asynchronous_checks(config, strategy, named_so) if mode != "sync" else {}
    refused = [reason for reason, wrong in checks.items() if wrong]
    if refused:
        raise UnsupportedError(f"the verl trainer `{MODES[mode]}` cannot take {refused[0]}")
    check_bounds(strategy, config.actor_rollout_ref.rollout.n, "actor_rollout_ref.rollout.n")


def _scale_checks(config: DictConfig, strategy: Strategy[Any], name: str) -> dict[str, bool]:
    """An unscaled strategy multiplies reward - mean, which only some settings of verl leave."""
    if not strategy.unscaled:
        return {}
    estimator = str(config.algorithm.adv_estimator)
    divides = bool(config.algorithm.get("norm_adv_by_std_in_grpo", True))
    return {
        f"{name}: it multiplies centred rewards, which algorithm.adv_estimator={estimator} does not "
        f"give; set algorithm.adv_estimator={CENTRED} and algorithm.norm_adv_by_std_in_grpo=false": (
            estimator != CENTRED
        ),
        f"{name}: it multiplies centred rewards, and verl divides them by their deviation; "
        "set algorithm.norm_adv_by_std_in_grpo=false": divides,
    }


def _extension_checks(config: DictConfig, strategy: Strategy[Any], name: str) -> dict[str, bool]:
    if not strategy.extends:
        return {}
    model = config.reward.reward_model
    return {
        f"{name}: it keeps a part of a prompt's rollouts and compares them with all, and verl compares "
        "those that it trains on; take `dapo` or `speed`, or train with TRL": strategy.splits_groups,
        f"{name}: it needs rewards while rollouts can still be asked for, and verl scores with this "
        "reward model later; set reward.reward_model.enable_resource_pool=true": (
            bool(model.enable) and not model.enable_resource_pool
        ),
    }


def _asynchronous_checks(config: DictConfig, strategy: Strategy[Any], name: str) -> dict[str, bool]:
    """Batches are of groups that finished, of several submissions, with any number of rows."""
    return {
        f"{name}: it asks for further rollouts of a batch before that trains, and an asynchronous mode "
        "trains on what has finished; take a strategy without further rounds, e.g. "
        "+gdro.strategy=rollout-gdro, or trainer.v1.trainer_mode=gdro": strategy.extends,
        "critic.enable=true: verl cuts its mini-batches for rollout.n rows of each prompt; leave the "
        "critic out, or set trainer.v1.trainer_mode=gdro": bool(config.critic.get("enable")),
    }


def _memory_checks(config: DictConfig, strategy: Strategy[Any], name: str) -> dict[str, bool]:
    """Recalled rollouts replace rows without gradient, and are tokens alone."""
    if not strategy.remembers:
        return {}
    if strategy.remembers_groups:
        return {
            f"{name}: it remembers groups whole with their advantages, and a memory in verl holds one "
            "success of each prompt, stored before verl computes advantages; take `memory` "
            "(+gdro.strategy='uniform + memory'), or train with TRL": True
        }
    actor, algorithm, rollout = (
        config.actor_rollout_ref.actor,
        config.algorithm,
        config.actor_rollout_ref.rollout,
    )
    loss = _get(actor.get("policy_loss"), "loss_mode")
    estimator = str(algorithm.adv_estimator)
    routers = [_get(actor.get(engine), "router_replay") for engine in ("megatron", "veomni")]
    routed = bool(rollout.get("enable_rollout_routing_replay")) or any(
        _get(router, "mode") not in (None, "disabled") for router in routers
    )
    full = "gives every row a gradient, so none can make room for a remembered one"
    reasons = {
        f"actor_rollout_ref.actor.entropy_coeff={actor.entropy_coeff}: its bonus {full}; set it to 0": (
            actor.entropy_coeff != 0
        ),
        f"actor_rollout_ref.actor.use_kl_loss=true: its KL term {full}; set it to false": bool(
            actor.use_kl_loss
        ),
        f"algorithm.use_kl_in_reward=true: its KL term {full}; set it to false": bool(
            algorithm.use_kl_in_reward
        ),
        f"algorithm.adv_estimator={estimator}: its whitening over the batch {full}; take grpo": (
            estimator == "reinforce_plus_plus_baseline"
        ),
        f"actor_rollout_ref.actor.policy_loss.loss_mode={loss}: its penalty {full}; take vanilla": (
            loss in ("dro", "kl_cov")
        ),
        f"actor_rollout_ref.model.mtp.enable_train=true: its loss {full}; set it to false": bool(
            _get(config.actor_rollout_ref.model.get("mtp"), "enable_train")
        ),
        f"critic.enable=true: the critic's loss {full}; leave the critic out": bool(
            config.critic.get("enable")
        ),
        "algorithm.adv_estimator=gpg: it scales every group by the batch's number of successes, which "
        "remembered ones change; take grpo": estimator == "gpg",
        f"distillation.enabled=true: the teacher's loss {full}; set it to false": bool(
            _get(config.get("distillation"), "enabled")
        ),
        "router replay: the experts of a remembered rollout are not known; set actor_rollout_ref."
        "rollout.enable_rollout_routing_replay=false and router_replay.mode=disabled": routed,
    }
    reasons |= _router_checks(actor, full)
    end = ", or take a strategy without a memory, e.g. +gdro.strategy=rollout-gdro"
    if strategy.selects:
        end += (
            ". Do not only leave `memory` out: what selects hard prompts, e.g. mopps(target=0.1), "
            "forgets easy ones without it"
        )
    return {f"{name}, which has a memory, with {why}{end}": wrong for why, wrong in reasons.items()}


def _router_checks(actor: DictConfig, full: str) -> dict[str, bool]:
    """Losses of Megatron's routers, which verl leaves out if they are not asked for."""
    megatron = _get(actor.get("megatron"), "override_transformer_config")
    none = {"moe_aux_loss_coeff": 0, "moe_z_loss_coeff": 0, "moe_router_load_balancing_type": "none"}
    given = {name: _get(megatron, name) for name in none}
    return {
        f"actor_rollout_ref.actor.megatron.override_transformer_config.{name}={value}: its loss {full}; "
        f"set it to {none[name]}": value is not None and value != none[name]
        for name, value in given.items()
    }


def check_media(data: DictConfig, columns: Collection[str]) -> None:
    """Refuse data with images, audio or video beside a memory, which holds tokens alone.

    Raises:
        UnsupportedError: Says which column.
    """
    keys = (data.get(f"{kind}_key", f"{kind}s") for kind in ("image", "video", "audio"))
    column = next((key for key in keys if key in columns), None)
    if column is not None:
        raise UnsupportedError(
            f"the training data have the column {column!r}, and a memory holds tokens alone; leave the "
            "column out, or take a strategy without a memory, e.g. +gdro.strategy=rollout-gdro"
        )


def _get(section: Mapping[str, Any] | None, name: str) -> Any:
    return None if section is None else section.get(name)
