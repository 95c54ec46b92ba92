"""Refusals of an AsyncGRPOTrainer: what rollouts that are made ahead of the training cannot have."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import trl
from packaging.version import Version
from trl.experimental.async_grpo import (
    AsyncGRPOConfig,  # pyright: ignore[reportPrivateImportUsage]  # it is TRL's public name
)
from trl.trainer.utils import get_callable_name

from gdro.errors import ProblemError, StrategyError, UnsupportedError
from gdro.integrations.trl.checks import resolve_strategy
from gdro.strategies.compose import Part
from gdro.strategies.default import default_strategy
from gdro.strategy import Strategy

_NEEDS = Version("1.16")


def check_version() -> None:
    """Raise an UnsupportedError where TRL's loop of rollouts is not that of TRL 1.16."""
    if Version(trl.__version__) < _NEEDS:
        raise UnsupportedError(
            f"GDROAsyncGRPOTrainer needs TRL {_NEEDS} and this is {trl.__version__}, whose experimental "
            f"AsyncGRPOTrainer works otherwise; upgrade: pip install 'trl>={_NEEDS},<1.17'"
        )


def check_trainer(config: Any, dataset: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments before a model is loaded.

    Raises:
        UnsupportedError: The config is another trainer's, there is a rollout worker, or prompts are not
            conversations.
        ProblemError: Prompts are missing.
    """
    if config is not None and not isinstance(config, AsyncGRPOConfig):
        raise UnsupportedError(
            f"args is a {type(config).__name__}; AsyncGRPOTrainer needs an AsyncGRPOConfig (from "
            "trl.experimental.async_grpo import AsyncGRPOConfig)"
        )
    if arguments.get("rollout_worker") is not None:
        raise UnsupportedError(
            "rollout_worker= was given, and gdro makes the rollouts in a worker of its own, or their "
            "number would not be planned; leave it out"
        )
    if not arguments.get("environment_factory"):
        _check_prompts(dataset)


def _check_prompts(dataset: Any) -> None:
    if "prompt" not in dataset.column_names:
        raise ProblemError(
            f"the dataset has no column 'prompt'; it has {', '.join(dataset.column_names)}"
        )
    prompt = dataset[0]["prompt"]
    if not isinstance(prompt, str):
        return
    raise UnsupportedError(
        f"the first prompt is the text {prompt[:40]!r}, and AsyncGRPOTrainer applies the chat template "
        "to every prompt: make them conversations, e.g. train_dataset.map(lambda row: {'prompt': "
        "[{'role': 'user', 'content': row['prompt']}]})"
    )


def resolved(
    strategy: Strategy[Any] | str | Sequence[Part] | None,
    options: Mapping[str, Any] | None,
    mean: int,
) -> Strategy[Any]:
    """The strategy; by default gdro's default without its memory.

    Raises:
        StrategyError: It is unknown, or its bounds exclude the mean.
        UnsupportedError: It needs what asynchronous training does not have.
    """
    if strategy is None and not options:
        default: Any = default_strategy(mean)
        strategy = default.allocator
    part = resolve_strategy(strategy, options, mean)
    if part.remembers:
        raise UnsupportedError(
            f"strategy {part.name!r} has a memory, and AsyncGRPOTrainer has no place for it: it drops "
            "rows of old policies as stale, which a remembered rollout is. Leave it out, e.g. "
            "strategy='rollout-gdro', the default here"
        )
    if part.needs_loss:
        raise UnsupportedError(
            f"strategy {part.name!r} needs the loss of each rollout (signal='surrogate'), which "
            "AsyncGRPOTrainer computes in another process, after the plan was closed; take "
            "signal='failure'"
        )
    return part


def resolved_prompts(given: Any, default: int, num_rows: int, num_prompts: int, selects: bool) -> int:
    """Prompts of a plan: what was `given`, or a default that the dataset allows.

    Raises:
        StrategyError: It is no whole number of at least one.
        ProblemError: There are fewer prompts.
    """
    have = num_prompts if selects else num_rows
    if given is None:
        return max(1, min(default, have))
    if not isinstance(given, Integral) or isinstance(given, bool) or given < 1:
        raise StrategyError(f"prompts_per_plan is {given!r}; it must be a whole number, at least 1")
    if int(given) > have:
        raise ProblemError(
            f"prompts_per_plan is {given}, and train_dataset has {have} "
            f"{'distinct prompts' if selects else 'rows'}; lower it, or add prompts"
        )
    return int(given)


def check_sendable(correct: Any) -> None:
    """Refuse a judge that another process cannot import.

    Raises:
        UnsupportedError: It is a lambda, or a function inside of another.
    """
    name = getattr(correct, "__qualname__", "")
    if "<" in name:
        raise UnsupportedError(
            f"correct={name} is defined inside of a function, and the process that makes rollouts must "
            "import it, as it must reward functions; define it at the top of a module"
        )


def check_names(functions: Sequence[Any]) -> None:
    """Refuse reward functions of one name, whose rewards TRL's rows would mix.

    Raises:
        UnsupportedError: Two have the same name.
    """
    names = [name_of(function) for function in functions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UnsupportedError(
            f"two reward functions are called {twice!r}, and AsyncGRPOTrainer keeps rewards by name; "
            "give one of them another name, e.g. reward.__name__ = 'other'"
        )


def name_of(function: Any) -> str:
    """The name by which TRL knows a reward function."""
    return get_callable_name(function) if callable(function) else repr(function)


def bound(trainer: type, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's arguments by name, without those that it does not have."""
    known = inspect.signature(trainer).parameters
    keywords = {name: value for name, value in keywords.items() if name in known}
    return dict(inspect.signature(trainer).bind_partial(*arguments, **keywords).arguments)
