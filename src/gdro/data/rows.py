"""Raw rows from the hub, a local file, or reasoning-gym."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from gdro.common.files import parsed
from gdro.common.redact import shown
from gdro.data.presets import Preset
from gdro.errors import GdroError

SUFFIXES = (".parquet", ".json", ".jsonl", ".csv")
GYM = "reasoning-gym:"


class DataError(GdroError):
    """A dataset cannot be loaded, or lacks columns or rows."""


class Damaged(str):
    """The reason why a row cannot be read, in its place."""


Row = dict[str, Any] | Damaged


def read_table(file: Path) -> Any:
    """Read a .parquet, .json, .jsonl or .csv file into a `datasets.Dataset`.

    Raises:
        DataError: The file is missing, of another kind, or unreadable.
    """
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    check_file(file)
    if file.suffix == ".parquet":
        return Dataset(_columns(file))
    reader = Dataset.from_csv if file.suffix == ".csv" else Dataset.from_json
    try:
        return reader(str(file))
    except (OSError, ValueError, DatasetGenerationError) as problem:
        raise DataError(f"{file} is not a readable table: {str(problem).splitlines()[0]}") from problem


def _columns(file: Path) -> Any:
    """A parquet file as a `pyarrow.Table`, without its metadata.

    With the metadata, `datasets` would decode images, audio and video, and for that open any path and
    URL that the rows name, with the user's token.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.OSFile(str(file)) as source, pyarrow.parquet.ParquetFile(source) as parquet:
            _check_size(file, parquet.metadata)
            return parquet.read(use_threads=False).replace_schema_metadata(None)
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        why = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{file} is not a readable table: {why}") from problem


def _check_size(file: Path, metadata: Any) -> None:
    """Raise a DataError if a file claims more content than its bytes can hold."""
    size = file.stat().st_size
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    num_bytes = sum(group.total_byte_size for group in groups)
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    if rows > max(_MANY, size) or num_bytes > max(1000 * _MANY, _RATIO * size):
        raise DataError(
            f"{file} has {size:,} bytes and claims to hold {rows:,} rows of {num_bytes:,} bytes; "
            "reading it could exhaust the memory. If that is right, convert it to JSON lines"
        )


_MANY, _RATIO = 1_000_000, 100  # rows allowed in any file; most compression of a large one


def check_file(file: Path) -> None:
    """Raise a DataError unless this is a file of a supported kind."""
    if file.suffix not in SUFFIXES or not file.is_file():
        raise DataError(f"cannot read {file}: give an existing {', '.join(SUFFIXES)} file")


def file_rows(file: Path) -> list[Row]:
    """Rows of a local file, damaged lines of JSON among them.

    Raises:
        DataError: The file is missing, of another kind, or unreadable as a whole.
    """
    check_file(file)
    if file.suffix == ".parquet":
        return _columns(file).to_pylist()
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise DataError(
            f"{file} is not a readable table: not UTF-8 at byte {problem.start}"
        ) from problem
    if file.suffix == ".csv":
        try:
            return list(csv.DictReader(text.splitlines(keepends=True)))
        except csv.Error as problem:
            raise DataError(f"{file} is not a readable table: {problem}") from problem
    if file.suffix == ".jsonl":
        return [_line(line) for line in text.split("\n") if line.strip()]
    try:
        rows = parsed(text)
    except ValueError as problem:
        raise DataError(f"{file} is not a readable table: {problem}") from problem
    if not isinstance(rows, list):
        raise DataError(f"{file} holds {type(rows).__name__}; it must hold a list of rows")
    return [row if isinstance(row, dict) else Damaged("it is not an object") for row in rows]


def _line(line: str) -> Row:
    try:
        row = parsed(line)
    except ValueError as problem:
        return Damaged(f"it is not JSON ({problem})")
    return row if isinstance(row, dict) else Damaged("it is not an object")


def hub_rows(preset: Preset) -> list[Row]:
    """Rows of a dataset on the hub; a DataError if it cannot be loaded."""
    from datasets import load_dataset

    quiet = logging.getLogger("huggingface_hub")  # it logs each attempt
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        table: Any = load_dataset(preset.hub, preset.config, split=preset.split)
        return list(table)
    except (OSError, ValueError) as problem:  # ConnectionError is an OSError
        raise DataError(
            f"cannot load {preset.hub} from the hub: {shown(str(problem))}; without a network "
            f"pass a file with its columns: gdro data {preset.source} --from FILE"
        ) from problem
    finally:
        quiet.setLevel(before)


def gym_rows(spec: str) -> list[Row]:
    """Rows of a procedural dataset such as `reasoning-gym:chain_sum?size=2000&seed=1`.

    A row has `problem`, `answer` and `entry`, which its own scorer needs.

    Raises:
        DataError: reasoning-gym has no such dataset or option.
    """
    import reasoning_gym

    name, _, query = spec.removeprefix(GYM).partition("?")
    options = {key: _value(value) for key, value in parse_qsl(query, keep_blank_values=True)}
    try:
        entries: Iterator[Any] = iter(reasoning_gym.create_dataset(name, **options))
        return [_gym_row(entry) for entry in entries]
    except (ValueError, TypeError, AssertionError) as problem:
        raise DataError(
            f"{spec}: reasoning-gym says: {shown(str(problem)) or type(problem).__name__}"
        ) from problem


def _gym_row(entry: dict[str, Any]) -> Row:
    text = json.dumps(entry, default=str)
    return {"problem": entry["question"], "answer": entry["answer"], "entry": text}


def _value(text: str) -> Any:
    try:
        return parsed(text)
    except ValueError:
        return text
