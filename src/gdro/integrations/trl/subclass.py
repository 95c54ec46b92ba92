"""Subclasses of a trainer with gdro: the methods they may override, and the rewards they change."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from gdro.errors import UnsupportedError

_GENERATE = "_generate_and_score_completions"
_OURS = (
    _GENERATE,
    "_compute_loss",
    "_get_per_token_logps_and_entropies",
    "_save_checkpoint",
    "_load_optimizer_and_scheduler",
    "train",
)


def check_order(trainer: type, mixin: type, base: type) -> None:
    """Refuse a trainer class whose methods would hide gdro's, or whose advantages gdro would replace.

    Raises:
        UnsupportedError: Says which order of classes or which hook works.
    """
    order = trainer.__mro__
    own = order.index(mixin)
    behind = [cls for cls in order[own:] if cls not in mixin.__mro__]
    if not any(_GENERATE in vars(cls) for cls in behind):
        raise UnsupportedError(
            f"{(behind or order)[0].__name__} has no {_GENERATE}, in which gdro plans the rollouts, so "
            f"this run would go on without gdro; put {mixin.__name__} before {base.__name__} or a class "
            "that derives from it. For AsyncGRPOTrainer there is GDROAsyncGRPOTrainer, in "
            "gdro.integrations.trl.async_grpo"
        )
    for cls in order[:own]:
        for name in _OURS:
            if name in vars(cls) and not _goes_on(vars(cls)[name], name):
                raise UnsupportedError(
                    f"{cls.__name__}.{name} hides that of {mixin.__name__}, which plans the rollouts: "
                    f"it stands first and does not call super().{name}(...); call it there, or put "
                    f"{mixin.__name__} first: class {trainer.__name__}({mixin.__name__}, ...)"
                )
    for cls in order[own + 1 : order.index(base) if base in order else None]:
        if _GENERATE in vars(cls) and not vars(cls).get("keeps_advantages", False):
            raise UnsupportedError(
                f"{cls.__name__}.{_GENERATE} stands behind {mixin.__name__}, so advantages that it "
                "changes would be replaced by those of the plan's groups; change them in "
                "adjust_advantages(self, advantages, outcome, weights), which gets the plan's, or put "
                f"{cls.__name__} first: class {trainer.__name__}({cls.__name__}, GDROTrainer). If it "
                "leaves advantages alone, say so in its body: keeps_advantages = True"
            )


def check_planned(planned: bool, trainer: type) -> None:
    """Raise an UnsupportedError if rows were generated without a plan.

    That happens if a method calls that of another class by name and so skips gdro's.
    """
    if not planned:
        raise UnsupportedError(
            f"{trainer.__name__} generated its rows without a plan: {_GENERATE} of a class before "
            "GDROMixin does not go on to gdro's, so this run would be plain GRPO; call "
            f"super().{_GENERATE}(inputs) in it"
        )


def _goes_on(method: Any, name: str) -> bool:
    """Whether a method calls the next class's, by `super` or by its name."""
    function = inspect.unwrap(getattr(method, "__func__", method))
    code = getattr(function, "__code__", None)
    return code is None or bool({"super", name} & _names(code))


def _names(code: CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)


@contextmanager
def recorded_rewards(trainer: Any, ask: Callable[..., Any]) -> Iterator[list[tuple[Any, Any]]]:
    """Record the rewards of `_calculate_rewards`, shape (R, K), with all changes that subclasses make.

    Each call adds them to the list, with the answer of `ask` to the same arguments.
    """
    calculate = trainer._calculate_rewards
    before = vars(trainer).get("_calculate_rewards")
    seen: list[tuple[Any, Any]] = []

    def recorded(*args: Any, **kwargs: Any) -> Any:
        rewards = calculate(*args, **kwargs)
        seen.append((rewards, ask(*args, **kwargs)))
        return rewards

    trainer._calculate_rewards = recorded
    try:
        yield seen
    finally:
        if before is None:
            del trainer._calculate_rewards
        else:
            trainer._calculate_rewards = before
