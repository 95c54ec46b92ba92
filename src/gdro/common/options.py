"""Check of the types of options."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gdro.errors import StrategyError

_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (numbers.Integral,),
    "str": (str,),
    "float": (numbers.Real,),
    "float | None": (numbers.Real, type(None)),
    "int | float": (numbers.Real,),
}


def check_kinds(label: str, options: Mapping[str, Any], cls: Any) -> None:
    """Raise StrategyError for a number or text of another type than its field of the dataclass `cls`."""
    declared = {f.name: str(f.type) for f in fields(cls)}
    for option, value in options.items():
        kinds = _KINDS.get(declared[option])
        # True is a number in Python, but never meant as one.
        wrong = kinds is not None and (
            not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        )
        if wrong:
            raise StrategyError(f"{label}: {option} is {value!r}; allowed: {declared[option]}")
