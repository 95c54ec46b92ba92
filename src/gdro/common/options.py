"""Options of the wrong type, refused before they meet a comparison."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gdro.errors import StrategyError

_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (numbers.Integral,), "str": (str,), "float": (numbers.Real,),
    "float | None": (numbers.Real, type(None)), "int | float": (numbers.Real,),
}  # fmt: skip


def check_kinds(label: str, options: Mapping[str, Any], cls: Any) -> None:
    """Raise for a value of another type than a dataclass declares.

    Args:
        label: Whose options these are.
        options: Values by name; the names must be fields.
        cls: The dataclass; fields of other types than numbers and text are its own to check.

    Raises:
        StrategyError: Names the option, its value and the type that is allowed.
    """
    declared = {f.name: str(f.type) for f in fields(cls)}
    for option, value in options.items():
        kinds = _KINDS.get(declared[option])
        # True is a number in Python, and never meant as one.
        wrong = kinds is not None and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        )
        if wrong:
            raise StrategyError(f"{label}: {option} is {value!r}; allowed: {declared[option]}")
