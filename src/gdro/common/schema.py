"""Checks of the values of records that were read from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

LARGEST = 1e18
"""Largest absolute value of a number in a record, so that sums and products of a few stay finite."""


MOST_COUNT = (1 << 53) - 1
"""Largest count in a checkpoint, exact as a float; no run reaches it. What is written never exceeds it,
so that whatever was loaded can be saved and loaded again."""


class Fault(ValueError):
    """What is wrong with a record; its reader knows the file and the line."""


def is_number(value: Any) -> bool:
    """Whether a value is a finite number of at most `LARGEST` in size (not a boolean)."""
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def is_count(value: Any, most: int = 1 << 62) -> bool:
    """Whether a value is a whole number from zero up to a bound (not a boolean)."""
    return type(value) is int and 0 <= value <= most
