"""Compositions written in one line: "mopps(target=0.4) + rollout-gdro"."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

from gdro.errors import StrategyError
from gdro.strategy import Strategy, check_roles

Part = Strategy[Any] | str | Mapping[str, Any]
_TERM = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def is_composition(text: str) -> bool:
    """Whether a strategy's name is an expression of names, options in parentheses or `+`."""
    return "+" in text or "(" in text


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, options) of the terms `name` or `name(option=value, ...)` of a composition, joined by `+`.

    Values are Python literals, and bare words are strings.

    Raises:
        StrategyError: The text cannot be read.

    >>> parse("mopps(target=0.4, rule=band) + rollout-gdro")
    [('mopps', {'target': 0.4, 'rule': 'band'}), ('rollout-gdro', {})]
    """
    return [_term(part, text) for part in _split(text, "+")]


def replace_names(text: str, name_of: Callable[[str], str]) -> str:
    """A composition with its names replaced; what cannot be read stays as it is.

    >>> replace_names("Mopps(rule=band) + DAPO", str.lower)
    'mopps(rule=band) + dapo'
    """
    terms = [(part, _TERM.fullmatch(part)) for part in _split(text, "+")]
    if not all(match for _, match in terms):
        return text
    return " + ".join(
        name_of(match[1]) + part.strip()[len(match[1]) :] for part, match in terms if match
    )


def term_of(part: object) -> str:
    """The term of a part that is given as {"name": ..., options}.

    Raises:
        StrategyError: The part has no name.

    >>> term_of({"name": "mopps", "target": 0.4, "rule": "band"})
    "mopps(target=0.4, rule='band')"
    """
    given: Mapping[str, Any] = {}
    if isinstance(part, Mapping):
        given = cast("Mapping[str, Any]", part)
    if not isinstance(given.get("name"), str):
        raise StrategyError(
            f"a part of a composition is {part!r}; pass a name, {{'name': ..., options}} or a strategy"
        )
    options = ", ".join(f"{name}={value!r}" for name, value in given.items() if name != "name")
    return f"{given['name']}({options})" if options else str(given["name"])


def composed(parts: Mapping[str, Strategy[Any]]) -> dict[str, Strategy[Any]]:
    """Strategies by role, from strategies by the text that they were written as.

    Raises:
        StrategyError: Two parts take the same role, or one is a composition itself or declares no roles.
    """
    for text, part in parts.items():
        check_roles(part)
        if part.name == "joint":
            own = (getattr(part, field.name).name for field in fields(part))
            others = [other for other in parts if other != text]
            written = " + ".join(dict.fromkeys([*(n for n in own if n != "uniform"), *others]))
            raise StrategyError(
                f"{text!r} is a composition already and cannot be joined with +; write out its parts, "
                f"{written!r}, or give it another part, e.g. joint(remember=memory)"
            )
    taken: dict[str, tuple[str, Strategy[Any]]] = {}
    for text, part in parts.items():
        for role in part.roles:
            if role in taken:
                raise StrategyError(
                    f"{taken[role][0]!r} and {text!r} clash: both {role}; drop one of them"
                )
            taken[role] = (text, part)
    by_role = {role: part for role, (_, part) in taken.items()}
    if "select" in by_role and "weigh" not in by_role and by_role["select"].corrects_draws:
        by_role["weigh"] = by_role["select"]
    return by_role


def _term(part: str, text: str) -> tuple[str, dict[str, Any]]:
    match = _TERM.fullmatch(part)
    if match is None:
        raise StrategyError(
            f"cannot read {part.strip()!r} in {text!r}; write names joined by +, each with options in "
            "parentheses, e.g. 'mopps(target=0.4) + rollout-gdro'"
        )
    options: dict[str, Any] = {}
    for item in _split(match.group(2) or "", ","):
        if not item.strip():
            continue
        name, equals, value = item.partition("=")
        if not equals:
            raise StrategyError(f"cannot read option {item.strip()!r} in {text!r}; write name=value")
        options[name.strip()] = _literal(value.strip())
    return match.group(1), options


def _literal(value: str) -> Any:
    plain = {"true": True, "false": False, "null": None}
    if value in plain:
        return plain[value]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _split(text: str, separator: str) -> list[str]:
    """Split at the separators outside of brackets."""
    parts: list[str] = []
    depth = start = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            # 1e+3 is a number, not two terms; it only occurs inside parentheses.
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]
