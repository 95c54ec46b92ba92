"""Strategies by name, found through the entry points group `gdro.strategies`."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gdro.compose import ROLES, composed, is_composition, parse
from gdro.errors import StrategyError
from gdro.hints import did_you_mean
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
        name: One of `list_strategies()`, or a composition such as "mopps + rollout-gdro" or
            "mopps(target=0.4) + rollout-gdro(n_max=8)".
        **options: Its options; the rest keep their defaults. For a composition: a mapping of options
            by the name of a part.

    Returns:
        The strategy.

    Raises:
        StrategyError: The name or an option is unknown, or an option is out of range.

    >>> make_strategy("rollout-gdro", n_min=2, n_max=8).n_max
    8
    >>> make_strategy("mopps + rollout-gdro").allocator.name
    'rollout-gdro'
    """
    _check_name(name)
    if is_composition(name):
        return _composition(name, options)
    cls = strategy_class(name)
    known = [f.name for f in fields(cls)]
    aliases: Mapping[str, str] = getattr(cls, "aliases", {})
    options = {aliases.get(option, option): value for option, value in options.items()}
    for option in options:
        if option not in known:
            raise StrategyError(f"{name}: unknown option {option!r}{_hint(option, known)}")
    _check_types(name, cls, options)
    return cls(**options)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise StrategyError(
            f"the name of a strategy is {name!r}; pass one of {', '.join(list_strategies())}, or take "
            "gdro.default_strategy()"
        )


_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (numbers.Integral,), "str": (str,), "float": (numbers.Real,),
    "float | None": (numbers.Real, type(None)), "int | float": (numbers.Real,),
}  # fmt: skip


def _check_types(name: str, cls: type[Strategy[Any]], options: Mapping[str, Any]) -> None:
    """Raise before an option of the wrong type meets a comparison."""
    declared = {f.name: str(f.type) for f in fields(cls)}
    for option, value in options.items():
        kinds = _KINDS.get(declared[option])
        # True is a number in Python, and never meant as one.
        wrong = kinds is not None and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        )
        if wrong:
            raise StrategyError(f"{name}: {option} is {value!r}; allowed: {declared[option]}")


def _composition(text: str, options: Mapping[str, Any]) -> Strategy[Any]:
    terms = parse(text)
    names = [name for name, _ in terms]
    for name in options:
        if name not in names:
            raise StrategyError(
                f"{text!r} has no part {name!r}{_hint(name, names)}; give options by part, e.g. "
                f"{{{names[0]!r}: {{...}}}}, or in the text, e.g. '{names[0]}(option=value)'"
            )
    parts: dict[str, Strategy[Any]] = {}
    for name, own in terms:
        if name in parts:
            raise StrategyError(f"{text!r} names {name!r} twice; name each part once")
        parts[name] = make_strategy(name, **{**own, **dict(options.get(name, {}))})
    if len(parts) == 1:
        return next(iter(parts.values()))
    roles = dict.fromkeys(ROLES, "uniform") | composed(parts)
    return make_strategy("joint", **roles)


def _hint(name: str, known: list[str]) -> str:
    return f"{did_you_mean(name, known) or ';'} known: {', '.join(known) or 'none'}"
