"""Keys of a dataset's rows where no column has ids: a hash of every column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from gdro.errors import ProblemError

_ROWS = 2048  # read at once
_PICTURES = 16  # of rows with images: each takes megabytes when it is read


def row_key(row: Mapping[str, Any]) -> str:
    """Hash of all columns of a row, whatever their order.

    It is the same in every process and version: JSON with sorted names, arrays and bytes by content.

    Args:
        row: Value of each column by name.

    Returns:
        32 hexadecimal digits.

    Raises:
        ProblemError: A column holds objects that have no content to compare.

    >>> row_key({"prompt": "1+1", "label": 2}) == row_key({"label": 2, "prompt": "1+1"})
    True
    >>> row_key({"prompt": "1+1", "label": 2}) == row_key({"prompt": "1+1", "label": 3})
    False
    """
    try:
        return _digest(_ENCODER.encode(row).encode())
    except TypeError as error:
        raise ProblemError(_why(row, error)) from error


def row_keys(dataset: Any) -> list[str]:
    """`row_key` of every row of a `datasets.Dataset`."""
    if dataset.format["type"] is not None:  # tensors, or a transform: as the trainer will read them
        return [row_key(row) for row in dataset]
    num = _PICTURES if holds_images(dataset.features) else _ROWS
    return [key for columns in dataset.iter(num) for key in _block_keys(columns)]


def holds_images(features: Any) -> bool:
    """Whether the features of a `datasets.Dataset` have an image, at any depth."""
    if type(features).__name__ == "Image":
        return True
    inner = getattr(features, "feature", features)
    if isinstance(inner, Mapping):
        return any(map(holds_images, inner.values()))
    if isinstance(inner, list):
        return any(map(holds_images, inner))
    return inner is not features and holds_images(inner)


def repeated(keys: Sequence[str]) -> tuple[list[str], int]:
    """Distinct keys, in which all but the first of equal ones get a number; and the count of those.

    >>> repeated(["a", "b", "a", "a"])
    (['a', 'b', 'a#1', 'a#2'], 2)
    """
    seen: dict[str, int] = {}
    apart: list[str] = []
    for key in keys:
        number = seen.get(key, 0)
        seen[key] = number + 1
        apart.append(f"{key}#{number}" if number else key)
    return apart, len(keys) - len(seen)


def _block_keys(columns: Mapping[str, list[Any]]) -> list[str]:
    """`row_key` of each row of some columns: a column at a time is several times faster than a row."""
    names = sorted(columns)
    form = ", ".join(f"{_ENCODER.encode(name).replace('%', '%%')}: %s" for name in names)
    try:
        values = zip(*(_texts(columns[name]) for name in names), strict=True)
        return [_digest((f"{{{form}}}" % row).encode()) for row in values]
    except TypeError:  # `row_key` says which column
        rows = zip(*(columns[name] for name in names), strict=True)
        return [row_key(dict(zip(names, row, strict=True))) for row in rows]


def _texts(values: list[Any]) -> list[str]:
    """The JSON of each value."""
    if {type(value) for value in values} <= _SCALARS:
        # JSON has no line break of its own in a text or number.
        return _LINES.encode(values)[1:-1].split("\n")
    return [_ENCODER.encode(value) for value in values]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """A JSON value for a Python object: its content, never its address."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return value.tolist()
        return ["array", value.dtype.str, value.shape, _digest(np.ascontiguousarray(value).tobytes())]
    if isinstance(value, bytes):
        return ["bytes", _digest(value)]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta | Decimal):
        return str(value)
    if hasattr(value, "numpy"):  # a tensor, on whatever device the trainer put it
        return (value.cpu() if hasattr(value, "cpu") else value).numpy()
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # an image
        return ["image", value.mode, value.size, _digest(value.tobytes())]
    raise TypeError(type(value).__name__)


_ENCODER = json.JSONEncoder(sort_keys=True, default=_plain)
_LINES = json.JSONEncoder(separators=("\n", ": "))
_SCALARS = {str, int, float, bool, type(None)}


def _why(row: Mapping[str, Any], error: TypeError) -> str:
    """Which column could not be read."""
    for name, value in row.items():
        try:
            _ENCODER.encode(value)
        except TypeError as kind:
            return (
                f"column {name!r} holds values of type {kind}, which cannot be compared from row to "
                "row; drop the column, or name a column of distinct ids with id_column"
            )
    return f"the names of the columns cannot be compared ({error}); they must be text"
