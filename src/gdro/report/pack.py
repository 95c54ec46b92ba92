"""Data of a page: JSON and arrays in one compressed text."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

_KINDS = {"int8": 1, "uint8": 1, "uint16": 2, "uint32": 4}


def packed(data: Any, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> str:
    """Base64 of gzip of: length of the JSON (4 bytes), the JSON, the arrays' bytes.

    The JSON is `{"data": ..., "arrays": {name: [type, offset, length]}}`; `assets/pack.js` reads it.
    Arrays are of int8, uint8, uint16 or uint32. The text is ASCII without `<`.
    """
    table, parts, offset = {}, [], 0
    for name, array in (arrays or {}).items():
        kind = array.dtype.name
        offset += -offset % _KINDS[kind]
        table[name] = [kind, offset, len(array)]
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        parts.append((offset, raw))
        offset += len(raw)
    body = bytearray(offset)
    for start, raw in parts:
        body[start : start + len(raw)] = raw
    text = json.dumps({"data": data, "arrays": table}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # arrays start at a multiple of their size
    whole = len(text).to_bytes(4, "little") + text + bytes(body)
    return base64.b64encode(gzip.compress(whole, 9, mtime=0)).decode()


def packed_text(text: str) -> str:
    """Base64 of gzip of a text."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
