"""Rows of comma-, semicolon- and tab-separated files."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gdro.data.containers import suffix_of
from gdro.data.damage import Damaged, DataError, Row

_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16  # characters that show the separator


def csv_rows(source: BinaryIO, file: Path) -> list[Row]:
    """Rows of a file, each with the columns of its first line.

    Raises:
        DataError: It is no UTF-8, or a quoted cell never ends.
    """
    try:
        text = source.read().decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{file} is not a readable table: not UTF-8 at byte {problem.start}; save it as UTF-8"
        ) from problem
    separator = "\t" if suffix_of(file) == ".tsv" else _separator(text)
    try:
        with _cells_of_any_length():
            records = [record for record in _records(text, separator, file) if record]
    except csv.Error as problem:
        raise DataError(f"{file} is not a readable table: {problem}") from problem
    if not records:
        return []
    columns = [name.strip() for name in records[0]]
    twice = next((name for name in columns if columns.count(name) > 1 and name), None)
    if twice is not None:
        raise DataError(f"{file} has two columns {twice!r:.60}; rename one")
    return [_row(columns, record, separator) for record in records[1:]]


@contextmanager
def _cells_of_any_length() -> Generator[None]:
    """Without the module's own limit, which is that of the process: it is put back."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(text: str, separator: str, file: Path) -> Iterator[list[str]]:
    # With newline="", lines end at \n, \r and \r\n alone, not at U+2028 or a form feed.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    try:
        for record in reader:
            start = reader.line_num + 1
            yield record
    except csv.Error as problem:
        if "unexpected end of data" in str(problem):
            raise DataError(
                f'{file} is not a readable table: a cell of the row in line {start} starts with " and '
                "never ends"
            ) from problem
        # Text after a closing quote, which the lax reader takes as it stands.
        lines = io.StringIO(text, newline="")
        lax = csv.reader(lines, delimiter=separator)
        yield from (record for record in lax if lax.line_num >= start)


def _separator(text: str) -> str:
    """The separator by which most of the first rows have as many cells as the header."""
    sample = text[:_SAMPLE]
    best = (0.0, 0)
    chosen = ","
    for separator in _SEPARATORS:
        try:
            with _cells_of_any_length():
                rows = [r for r in csv.reader(io.StringIO(sample, newline=""), delimiter=separator) if r]
        except csv.Error:
            continue
        whole = rows[1:-1] if len(text) > _SAMPLE and len(rows) > 2 else rows[1:]
        if rows and len(rows[0]) > 1:
            same = sum(len(row) == len(rows[0]) for row in whole) / max(1, len(whole))
            if (same, len(rows[0])) > best:
                best, chosen = (same, len(rows[0])), separator
    return chosen


def _row(columns: list[str], record: list[str], separator: str) -> Row:
    if len(record) > len(columns):
        return Damaged(
            f"it has {len(record)} cells and the header {len(columns)}: put cells with {separator!r} "
            "into double quotes"
        )
    return {**dict.fromkeys(columns), **dict(zip(columns, record, strict=False))}
