"""Local files of rows: one, a folder or a pattern of several, plain or compressed, never too large."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gdro.data.damage import DataError

SUFFIXES = (".parquet", ".json", ".jsonl", ".ndjson", ".csv", ".tsv")
PACKED = ".gz"
_LEAST, _RATIO = 1 << 28, 100  # bytes that any packed file may hold; most compression of a large one
_OTHER = {
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x89HDF": "HDF5",
    b"ARROW1": "Arrow",
    b"SQLite format 3": "SQLite",
}


def suffix_of(file: Path) -> str:
    """Suffix of a file in lower case, without that of compression.

    >>> suffix_of(Path("a/Train.JSONL.gz"))
    '.jsonl'
    """
    name = file.name.lower().removesuffix(PACKED)
    return Path(name).suffix


def is_table(file: Path) -> bool:
    """Whether a file has the suffix of a table, and is not hidden."""
    return suffix_of(file) in SUFFIXES and not file.name.startswith((".", "_"))


def files_of(place: Path, deep: bool = False) -> list[Path]:
    """The files that a path names, in the order of the numbers in their names.

    Args:
        place: A file, a folder of files, or a pattern such as `data/*.parquet`.
        deep: Whether files in subfolders of a folder count, too.

    Raises:
        DataError: There is none, or a folder holds files of several kinds.
    """
    if place.is_file():
        return [place]
    if place.is_dir():
        inside = [f for f in (place.rglob("*") if deep else place.iterdir()) if is_table(f)]
    else:
        inside = _matching(place)
    files = sorted((file for file in inside if file.is_file()), key=by_numbers)
    kinds = sorted({suffix_of(file) for file in files})
    if not files:
        raise DataError(
            f"cannot read {place}: give an existing {', '.join(SUFFIXES)} file (or .gz of it), or a "
            "folder of such files"
        )
    if len(kinds) > 1:
        raise DataError(f"{place} holds {', '.join(kinds)} files; give a pattern: {place}/*{kinds[0]}")
    return files


def _matching(pattern: Path) -> list[Path]:
    """Files that match a pattern; its folders may be patterns, too."""
    parts = pattern.parts
    first = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    if first is None:
        return []
    try:
        return list(Path(*parts[:first]).glob(str(Path(*parts[first:]))))
    except ValueError as problem:
        raise DataError(f"cannot read {pattern}: it is not a pattern ({problem})") from problem


def by_numbers(file: Path) -> list[tuple[int, str]]:
    """Key by which files are sorted in the order of the numbers in their names."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d{1,18})", str(file))]


@contextmanager
def opened(file: Path) -> Generator[BinaryIO]:
    """Bytes of a file, unpacked if it is gzip.

    Raises:
        DataError: It cannot be read, is compressed otherwise, is cut off, or unpacks to far more than
            its size.
    """
    try:
        with file.open("rb") as source:
            head = source.read(16)
            source.seek(0)
            kind = next((kind for mark, kind in _OTHER.items() if head.startswith(mark)), None)
            if kind is not None:
                raise DataError(f"{file} is a {kind} file; unpack it, or write JSON lines")
            if not head.startswith(b"\x1f\x8b"):
                yield source
                return
            most = max(_LEAST, _RATIO * file.stat().st_size)
            with gzip.GzipFile(fileobj=source) as packed:
                yield io.BufferedReader(_Unpacked(packed, most, file))
    except OSError as problem:
        raise DataError(f"cannot read {file}: {problem.strerror or problem}") from problem


class _Unpacked(io.RawIOBase):
    """Unpacked bytes, counted."""

    def __init__(self, packed: gzip.GzipFile, most: int, file: Path) -> None:
        self._packed, self._left, self._most, self._file = packed, most, most, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        try:
            size = self._packed.readinto(buffer)
        except (OSError, EOFError, zlib.error) as problem:
            raise DataError(
                f"{self._file} is damaged or cut off ({problem}); pack it again"
            ) from problem
        self._left -= size
        if self._left < 0:
            raise DataError(
                f"{self._file} unpacks to more than {self._most:,} bytes, which could exhaust the "
                "memory. If that is right, unpack it first"
            )
        return size


def is_parquet(file: Path) -> bool:
    """Whether a file is parquet, by its suffix or its first bytes."""
    if suffix_of(file) == ".parquet":
        return True
    with file.open("rb") as source:
        return source.read(4) == b"PAR1"
