"""Rows of JSON: lines, a list, objects one after another, or a table of wandb."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gdro.common.files import parsed
from gdro.data.damage import Damaged, DataError, Row, Truncated

_MARK = b"\xef\xbb\xbf"


def json_rows(source: BinaryIO, file: Path) -> Iterator[Row]:
    """Rows of a JSON file, of lines where its first line is an object.

    Raises:
        DataError: It is no UTF-8, or its JSON holds no rows.
    """
    first = next((line for line in source if line.removeprefix(_MARK).strip()), b"")
    first = first.removeprefix(_MARK)
    _check_encoding(first, file)
    row = _line(first)
    if isinstance(row, dict):
        second = next((line for line in source if line.strip()), None)
        yield from _value(row, file) if second is None else [row, _line(second)]
        yield from (_line(line) for line in source if line.strip())
    elif first:
        yield from _whole(first + source.read(), file)


def _check_encoding(text: bytes, file: Path) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{file} is not a readable table: not UTF-8 at byte {problem.start}; save it as UTF-8"
        ) from problem


def _line(line: bytes) -> Row:
    try:
        row = parsed(line.decode())
    except ValueError as problem:
        kind = Damaged if line.endswith(b"\n") else Truncated
        return kind(f"it is not JSON ({_why(problem)})")
    return _row(row)


def _why(problem: ValueError) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return f"not UTF-8 at byte {problem.start}"
    return str(problem)[:200]


def _row(row: Any) -> Row:
    if isinstance(row, dict):
        return row
    kinds = {list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return Damaged(f"it is not an object with columns, but {kinds.get(type(row), 'a number')}")


def _whole(content: bytes, file: Path) -> Iterator[Row]:
    """Rows of a file that is not lines of objects."""
    _check_encoding(content, file)
    text = content.decode()
    try:
        yield from _value(parsed(text), file)
        return
    except ValueError as problem:
        if isinstance(problem, DataError):
            raise
        why = f"it is not JSON ({_why(problem)})"
    objects, complete = _objects(text)
    if complete or len(objects) > 1:
        yield from objects
        return
    lines = [_line(line) for line in content.splitlines(keepends=True) if line.strip()]
    if not any(isinstance(line, dict) for line in lines):
        raise DataError(f"{file} is not a readable table: {why}")
    yield from lines


def _objects(text: str) -> tuple[list[Row], bool]:
    """Objects one after another, and whether that is all; the row after them says what it is not."""
    decoder, rows, at = json.JSONDecoder(), list[Row](), 0
    while at < len(text):
        if text[at] in " \t\r\n,\x1e":
            at += 1
            continue
        try:
            row, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as problem:
            line = text.count("\n", 0, at) + 1
            return [
                *rows,
                Damaged(f"what starts in line {line} is not JSON ({str(problem)[:200]})"),
            ], False
        rows.append(_row(row))
    return rows, all(isinstance(row, dict) for row in rows)


def _value(value: Any, file: Path) -> Iterator[Row]:
    """Rows of the one value of a file."""
    if isinstance(value, list):
        yield from map(_row, value)
    elif not isinstance(value, dict):
        raise DataError(f"{file} holds {type(value).__name__}; it must hold a list of rows")
    elif isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        yield from _table(value["columns"], value["data"])
    elif not value or any(_is_rows(part) for part in value.values()):
        under = next((f" under {key!r:.60}" for key, part in value.items() if _is_rows(part)), "")
        raise DataError(
            f"{file} holds a mapping, with the rows{under}; it must hold a list of rows: write the list "
            "alone, or one row a line"
            if under
            else f"{file} holds an empty mapping; it must hold a list of rows"
        )
    else:
        yield value


def _is_rows(part: Any) -> bool:
    """Whether a part of a mapping is a list of rows, and no conversation."""
    rows = isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)
    return rows and not all({"role", "from", "content"} & row.keys() for row in part)


def _table(columns: list[Any], data: list[Any]) -> Iterator[Row]:
    """Rows of a table of wandb, whose columns are named once."""
    for values in data:
        if isinstance(values, list) and len(values) == len(columns):
            yield dict(zip(map(str, columns), values, strict=True))
        else:
            yield Damaged(f"it is not a list of the {len(columns)} columns")
