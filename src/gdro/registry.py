"""Strategies by name, found through the entry points group `gdro.strategies`."""

from __future__ import annotations

import difflib
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gdro.errors import StrategyError
from gdro.strategy import Strategy

GROUP = "gdro.strategies"


@cache
def _table() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def list_strategies() -> list[str]:
    """Names of all strategies, built in or from other packages, sorted."""
    return sorted(_table())


def strategy_class(name: str) -> type[Strategy[Any]]:
    """The class behind a name.

    Raises:
        StrategyError: The name is unknown; names the known ones.
    """
    point = _table().get(name)
    if point is None:
        raise StrategyError(f"unknown strategy {name!r}{_hint(name, list_strategies())}")
    loaded: type[Strategy[Any]] = point.load()
    return loaded


def make_strategy(name: str, **options: Any) -> Strategy[Any]:
    """Make a strategy by name.

    Args:
        name: One of `list_strategies()`.
        **options: Its options; the rest keep their defaults.

    Returns:
        The strategy.

    Raises:
        StrategyError: The name or an option is unknown, or an option is out of range.

    >>> make_strategy("rollout-gdro", n_min=2, n_max=8).n_max
    8
    """
    cls = strategy_class(name)
    known = [f.name for f in fields(cls)]
    for option in options:
        if option not in known:
            raise StrategyError(f"{name}: unknown option {option!r}{_hint(option, known)}")
    return cls(**options)


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{guess} known: {', '.join(known) or 'none'}"
