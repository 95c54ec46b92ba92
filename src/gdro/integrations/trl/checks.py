"""Checks of a TRL trainer's arguments before training, and the objects that they name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gdro.common.hints import did_you_mean
from gdro.controller import Controller
from gdro.errors import ProblemError, StrategyError, UnsupportedError
from gdro.integrations.trl.data import check_dataset
from gdro.integrations.trl.static_decode import StaticDecoder
from gdro.integrations.trl.unsloth import check_unsloth
from gdro.problem import Problem
from gdro.step.bounds import check_bounds
from gdro.step.checks import check_parts
from gdro.strategies.compose import Part
from gdro.strategies.default import default_strategy
from gdro.strategies.registry import named
from gdro.strategy import Strategy


def check_arguments(train_dataset: Any, arguments: Mapping[str, Any], trainer: type) -> None:
    """Refuse arguments of a trainer that cannot work with plans.

    Raises:
        UnsupportedError: A refused feature is used, or an argument is unknown.
    """
    _check_names(arguments, trainer)
    if train_dataset is None and arguments.get("environment_factory"):
        raise UnsupportedError(
            "environment_factory without train_dataset is not supported: a plan names rows, so give the "
            "environment a dataset of what its reset(**row) starts from, e.g. "
            "train_dataset=Dataset.from_dict({'seed': list(range(1000))})"
        )
    check_dataset(train_dataset)
    _check_callable(arguments)


def _check_callable(arguments: Mapping[str, Any]) -> None:
    """Refuse what the trainer would call, and cannot: an environment instead of its class, a text."""
    factories = arguments.get("environment_factory")
    named = factories if isinstance(factories, Mapping) else {"": factories}
    for argument, value, fix in (
        ("rollout_func", arguments.get("rollout_func"), "pass a function of (prompts, trainer)"),
        *(("environment_factory", f, "pass the class, not an object of it") for f in named.values()),
    ):
        if value is not None and not callable(value):
            kind = type(value).__name__
            raise UnsupportedError(f"{argument} has a {kind}, which cannot be called; {fix}")


def _check_names(arguments: Mapping[str, Any], trainer: type) -> None:
    """Refuse a misspelt argument, unless the trainer class takes any."""
    inits = [inspect.signature(c.__init__) for c in trainer.__mro__ if "__init__" in vars(c)]
    own = next(i for i, s in enumerate(inits) if {"strategy", "apply"} <= set(s.parameters))
    parameters = inits[own + 1].parameters  # the next class gets the rest
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    known = [*list(inits[own].parameters)[2:-1], *list(parameters)[1:]]
    for name in arguments:
        if name not in known:
            guess = did_you_mean(name, known) or f"; there are: {', '.join(known)}"
            raise UnsupportedError(f"{trainer.__name__} has no argument {name!r}{guess}")


def check_config(args: Any) -> None:
    """Raise an UnsupportedError for options of a GRPOConfig that would silently break plans."""
    if args.remove_unused_columns:
        raise UnsupportedError(
            "remove_unused_columns=True drops the columns that identify prompts; leave it False, "
            "GRPOConfig's default"
        )
    if args.use_vllm and "seed" in (args.generation_kwargs or {}):
        raise UnsupportedError(
            f"generation_kwargs={{'seed': {args.generation_kwargs['seed']}}} with vLLM gives all "
            "rollouts of a prompt the same text, since each is a request of its own and every request "
            "starts from that seed; leave 'seed' out of generation_kwargs"
        )


def check_strategy(trainer: Any, strategy: Strategy[Any]) -> None:
    """Raise an UnsupportedError if an option of the trainer keeps a strategy from what it needs."""
    check_unsloth(type(trainer), trainer.args, strategy)
    check_losses(trainer, strategy)
    check_token_advantages(trainer, strategy)
    check_scale(trainer, strategy)


def _fused(trainer: Any) -> bool:
    """Whether the loss is Liger's fused one, as in TRL 1.12 and 1.13."""
    return bool(trainer.args.use_liger_kernel) and hasattr(trainer, "compute_liger_loss")


def check_token_advantages(trainer: Any, strategy: Strategy[Any]) -> None:
    """Raise an UnsupportedError if a strategy needs advantages by token, which Liger does not take."""
    if strategy.remembers_groups and _fused(trainer):
        raise UnsupportedError(
            f"strategy {strategy.name!r} corrects the advantage of each token of recalled rollouts, and "
            "Liger's fused loss of this TRL takes one for each rollout; set use_liger_kernel=False, "
            "take strategy='memory', or upgrade: pip install 'trl>=1.14,!=1.15.0'"
        )


def check_losses(trainer: Any, strategy: Strategy[Any]) -> None:
    """Raise an UnsupportedError if a strategy needs the loss of each rollout and Liger hides it.

    Liger's loss is only the sum in TRL 1.12 and 1.13; later versions have a loss of their own for it.
    """
    if strategy.needs_loss and _fused(trainer):
        raise UnsupportedError(
            f"strategy {strategy.name!r} needs the loss of each rollout (signal='surrogate'), which "
            "Liger's fused loss of this TRL hides; take signal='failure', set use_liger_kernel=False, "
            "or upgrade: pip install 'trl>=1.14,!=1.15.0'"
        )


def check_scale(trainer: Any, strategy: Strategy[Any]) -> None:
    """Raise an UnsupportedError if a strategy's weights cannot be those of centred rewards."""
    aggregation = trainer.multi_objective_aggregation
    if strategy.unscaled and aggregation != "sum_then_normalize":
        raise UnsupportedError(
            f"strategy {strategy.name!r} multiplies centred rewards, and multi_objective_aggregation="
            f"{aggregation!r} divides those of each reward function by their deviation; set "
            "multi_objective_aggregation='sum_then_normalize', GRPOConfig's default (scale_rewards may "
            "be anything)"
        )


def resolve_generation(generation: str, trainer: Any) -> StaticDecoder | None:
    """The decoder of `generation="static"`; None for `trl`, the trainer's own generation.

    Raises:
        UnsupportedError: Another value, or a trainer that generates elsewhere or shards the weights.
    """
    if generation == "trl":
        return None
    if generation != "static":
        raise UnsupportedError(f"generation is {generation!r}; it must be 'trl' or 'static'")
    accelerator, args = trainer.accelerator, trainer.args
    batching = "use_transformers_continuous_batching"
    refused = {
        "use_vllm": args.use_vllm,
        batching: getattr(args, batching, False),
        "cache_implementation": args.cache_implementation,
        "tools or environments": bool(trainer.tools),
        "rollout_func": trainer.rollout_func is not None,
        "a processor of images": trainer._is_vlm,
        "DeepSpeed": getattr(trainer, "is_deepspeed_enabled", False),
        "FSDP": getattr(trainer, "is_fsdp_enabled", False),
    }
    for name, given in refused.items():
        if given:
            raise UnsupportedError(
                f"generation='static' cannot be combined with {name}: it completes each prompt once, as "
                "text alone, from the whole weights of a model on one device, and keeps a cache of its "
                "own; leave generation='trl'"
            )
    decoder = StaticDecoder()
    decoder.check(accelerator.unwrap_model(trainer.model), trainer.generation_config)
    return decoder


def resolve_strategy(
    strategy: Strategy[Any] | str | Sequence[Part] | None,
    options: Mapping[str, Any] | None,
    mean_rollouts: int,
) -> Strategy[Any]:
    """The strategy of a trainer, given by name, as parts or as an object; the default if it is None.

    Raises:
        StrategyError: The name is unknown, options came without a name, or the strategy's bounds on the
            rollouts of a prompt exclude their mean.
    """
    if strategy is None and not options:
        strategy = default_strategy(mean_rollouts)
    elif isinstance(strategy, str | list | tuple):
        strategy = named(strategy, dict(options or {}), mean_rollouts)
    elif options:
        raise StrategyError(
            "strategy_options go with a strategy's name: pass strategy='rollout-gdro' or another of "
            "gdro.list_strategies()"
        )
    check_parts(strategy, None)
    assert isinstance(strategy, Strategy)
    check_bounds(strategy, mean_rollouts, "num_generations")
    return strategy


def check_controller(controller: Controller, pool: Problem, given: tuple[Any, ...], mean: int) -> None:
    """Refuse a ready controller that does not fit the dataset or the other arguments.

    Raises:
        StrategyError: Arguments of a controller were `given` too, or its bounds exclude the mean.
        ProblemError: The controller's pool is not the dataset's.
    """
    if any(given):
        raise StrategyError(
            "controller= was given together with strategy=, difficulty= or apply=; pass those to the "
            "Controller"
        )
    if tuple(controller.problem.prompt_keys) != tuple(pool.prompt_keys):
        raise ProblemError(
            f"the controller's pool ({controller.problem.num_prompts} prompts) is not the dataset's "
            f"({pool.num_prompts}); make it from the same keys, e.g. "
            "dataset_pool(train_dataset, id_column).problem"
        )
    check_bounds(controller.strategy, mean, "num_generations")
