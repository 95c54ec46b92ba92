"""Make strategies by name, and compositions of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from gdro.common.hints import hint
from gdro.common.options import check_kinds
from gdro.errors import StrategyError
from gdro.strategies.compose import Part, composed, is_composition, parse, replace_names, term_of
from gdro.strategies.names import canonical, list_strategies, preset_of, strategy_class
from gdro.strategy import ROLES, Strategy

__all__ = ["MEAN_ROLLOUTS", "list_strategies", "make_strategy", "named", "strategy_class", "text_of"]

MEAN_ROLLOUTS = 4  # the mean number of rollouts of a prompt for presets, where it is not given


def make_strategy(name: str | Sequence[Part], **options: Any) -> Strategy[Any]:
    """Make a strategy by name.

    Args:
        name: One of `list_strategies()` in any case, a preset such as "gdro" (the default), or a
            composition: "mopps(target=0.4) + rollout-gdro(n_max=8)", or a list of its parts, each
            a name, {"name": ..., options} or a strategy.
        **options: Options of the strategy; others keep their defaults. For a composition: a mapping of
            options for each part, by its name.

    Returns:
        The strategy.

    Raises:
        StrategyError: The name or an option is unknown, or an option is out of range.

    >>> make_strategy("rollout-gdro", n_min=2, n_max=8).n_max
    8
    >>> make_strategy("mopps + rollout-gdro").allocator.name
    'rollout-gdro'
    >>> make_strategy(["mopps", "rollout-gdro"]) == make_strategy("mopps + rollout-gdro")
    True
    """
    return named(name, options)


def named(
    name: str | Sequence[Part], options: Mapping[str, Any], mean_rollouts: int = MEAN_ROLLOUTS
) -> Strategy[Any]:
    """`make_strategy` for a known mean number of rollouts of a prompt, with which presets scale."""
    if isinstance(name, str) and not is_composition(name):
        if preset_of(name) is None:
            return _single(name, options)
    elif not isinstance(name, str | list | tuple) or not name:
        raise StrategyError(
            f"the name of a strategy is {name!r}; pass one of {', '.join(list_strategies())}, a list of "
            "them, or take gdro.default_strategy()"
        )
    written = [name] if isinstance(name, str) else name
    terms = [term for part in written for term in _terms(part, mean_rollouts)]
    return _composition(terms, name, options)


def text_of(name: Any) -> Any:
    """A strategy from a configuration file as one line with canonical names; other values stay as is.

    >>> text_of(["Rollout-GDRO", {"name": "memory", "max_misses": 2}])
    'rollout-gdro + memory(max_misses=2)'
    >>> text_of("GRPO")
    'uniform'
    """
    if isinstance(name, list | tuple) and name:
        parts = cast("Sequence[Any]", name)
        if all(isinstance(part, str | Mapping) for part in parts):
            return " + ".join(
                text_of(part if isinstance(part, str) else term_of(part)) for part in parts
            )
    return replace_names(name, canonical) if isinstance(name, str) else cast("Any", name)


def _single(name: str, options: Mapping[str, Any]) -> Strategy[Any]:
    cls = strategy_class(name)
    known = [f.name for f in fields(cls)]
    aliases: Mapping[str, str] = getattr(cls, "aliases", {})
    options = {aliases.get(option, option): value for option, value in options.items()}
    for option in options:
        if option not in known:
            raise StrategyError(f"{name}: unknown option {option!r}{hint(option, known)}")
    check_kinds(name, options, cls)
    parts = {option: _part(options[option], option) for option in aliases.values() if option in options}
    return cls(**{**options, **parts})


def _part(value: Any, option: str) -> Any:
    """The strategy of a part of a `joint`, made where it is given by name."""
    if not isinstance(value, str | Mapping):
        return value
    written = cast("Mapping[str, Any]", {"name": value} if isinstance(value, str) else value)
    if "name" not in written:
        raise StrategyError(f"joint: {option} is {value!r}; a mapping needs a 'name' and options")
    return make_strategy(**{"name": written["name"], **written})


_Term = tuple[str, dict[str, Any]] | Strategy[Any]


def _terms(part: Part, mean_rollouts: int) -> list[_Term]:
    """Terms of a part of a composition: names with options, presets expanded, or a strategy."""
    if isinstance(part, Strategy):
        return [part]
    text = part if isinstance(part, str) else term_of(part)
    terms: list[_Term] = []
    for name, own in parse(text):
        preset = preset_of(name)
        if preset is None:
            terms.append((canonical(name), own))
            continue
        if own:
            raise StrategyError(
                f"{text!r} gives options to the preset {name!r}; write out its parts, "
                f"{preset.written(mean_rollouts)!r}, or give options by part"
            )
        terms += parse(preset.written(mean_rollouts))
    return terms


def _composition(terms: Sequence[_Term], written: Any, options: Mapping[str, Any]) -> Strategy[Any]:
    names = [term.name if isinstance(term, Strategy) else term[0] for term in terms]
    free = [name for name, term in zip(names, terms, strict=True) if not isinstance(term, Strategy)]
    options = {canonical(part): given for part, given in options.items()}
    for part, given in options.items():
        _check_part(part, given, free, written)
    parts: dict[str, Strategy[Any]] = {}
    for name, term in zip(names, terms, strict=True):
        if name in parts:
            raise StrategyError(f"{written!r} names {name!r} twice; name each part once")
        parts[name] = (
            term if isinstance(term, Strategy) else _single(name, {**term[1], **options.get(name, {})})
        )
    if len(parts) == 1:
        return next(iter(parts.values()))
    return _single("joint", dict.fromkeys(ROLES, "uniform") | composed(parts))


def _check_part(part: str, given: Any, parts: Sequence[str], written: Any) -> None:
    """Raise unless the options are a mapping for one of the parts of a composition."""
    owner = next((p for p in parts if part in [f.name for f in fields(strategy_class(p))]), None)
    shown, option = owner or (parts[0] if parts else "NAME"), part if owner else "option"
    fix = (
        f"give options by part, e.g. {{{shown!r}: {{{option!r}: ...}}}}, or in the text, e.g. "
        f"'{shown}({option}=...)'"
    )
    if part not in parts:
        raise StrategyError(f"{written!r} has no part {part!r}{hint(part, parts)}; {fix}")
    if not isinstance(given, Mapping):
        raise StrategyError(f"{written!r}: options of {part!r} are {given!r}; {fix}")
