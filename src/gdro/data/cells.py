"""Cells of a row: columns inside columns, and numbers as texts."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from gdro.common.files import parsed
from gdro.data.damage import Unfit

_ABSENT = object()
_NOTHING = ("nan", "null")


def has_cell(row: Mapping[str, Any], column: str) -> bool:
    """Whether a row has a column, or the part of one that `column` names."""
    return _cell(row, column) is not _ABSENT


def cell(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of a part of one, None without it.

    >>> cell({"reward_model": {"ground_truth": "7"}}, "reward_model.ground_truth")
    '7'
    """
    value = _cell(row, column)
    return None if value is _ABSENT else value


def _cell(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    for at in (i for i, character in enumerate(column) if character == "."):
        inside = row.get(column[:at])
        if isinstance(inside, str) and inside.lstrip().startswith("{"):
            inside = json_of(inside)
        if isinstance(inside, Mapping):
            return _cell(inside, column[at + 1 :])
    return _ABSENT


def json_of(text: str) -> Any:
    """JSON data of a text, None if it is not JSON."""
    try:
        return parsed(text)
    except ValueError:
        return None


def text_of(value: Any) -> str:
    """A cell as text, empty if there is nothing in it; numbers without exponent.

    Raises:
        Unfit: It is bytes, a list or a mapping.

    >>> text_of(1e16), text_of(204.0), text_of(0.25), text_of(float("nan")), text_of(" x ")
    ('10000000000000000', '204', '0.25', '', 'x')
    """
    if isinstance(value, float | Decimal):
        return _number(value) if isfinite(value) else ""
    if isinstance(value, bytes | list | dict):
        kinds = {bytes: "bytes, not text", list: "a list"}
        raise Unfit(f"it is {kinds.get(type(value), 'a mapping')}")
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in _NOTHING else text


def _number(value: float | Decimal) -> str:
    text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def keys_of(value: Mapping[str, Any], column: str) -> str:
    """The columns inside a column, as an option would name them."""
    return ", ".join(f"{column}.{key}" for key in value)[:200] or "none"
