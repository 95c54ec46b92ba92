"""The default strategy, and the conditions under which presets may be used."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from gdro.errors import StrategyError
from gdro.strategies.presets import PRESETS
from gdro.strategies.registry import named
from gdro.strategy import Strategy


def default_strategy(mean_rollouts: int = 4) -> Strategy[Any]:
    """The preset `gdro`: Rollout-GDRO with a memory of successes (studies/grading.yaml).

    It neither selects prompts nor adds weights that a lucky success could profit from, so it also works
    where only the final answer is graded. Where the whole work is checked, the preset `gdro-tail` gains
    more.

    Args:
        mean_rollouts: Mean number of rollouts of a prompt (n_bar, TRL's `num_generations`).

    Returns:
        The strategy, a `joint`.

    Raises:
        StrategyError: `mean_rollouts` is not a whole number of at least 2.

    >>> default_strategy(4).allocator.n_max, default_strategy(16).allocator.n_max
    (12, 32)
    """
    if not isinstance(mean_rollouts, Integral) or mean_rollouts < 2:
        raise StrategyError(
            f"mean_rollouts is {mean_rollouts!r}; it must be a whole number of at least 2 (one rollout "
            "has no advantage)"
        )
    return named("gdro", {}, mean_rollouts)


def condition_of(strategy: Strategy[Any], mean_rollouts: int) -> str:
    """Condition of the preset that a strategy is or extends, however it was written; else "".

    Selector, weigher and how the memory treats replays and anchors make the condition: other bounds on
    rollouts, other numbers of anchors, other options of the selector, or an extender do not change it.

    >>> condition_of(default_strategy(4), 4)
    ''
    >>> condition_of(named("gdro-tail + dapo", {}, 4), 8)[:39]
    'only where the whole work is checked, a'
    """
    for name, preset in PRESETS.items():
        if preset.condition and mean_rollouts > 1:
            own = named(name, {}, mean_rollouts)
            if strategy.name == own.name and _like(strategy, own):
                return preset.condition
    return ""


def _like(strategy: Any, preset: Any) -> bool:
    """Whether the parts have the names of a preset's, and the memory replays and picks as it does."""
    parts = ("selector", "weigher", "rememberer")
    if any(getattr(strategy, part).name != getattr(preset, part).name for part in parts):
        return False
    own, other = strategy.rememberer, preset.rememberer
    return all(getattr(own, o) == getattr(other, o) for o in ("replay_weight", "anchor_pick"))
