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
from gdro.common.untrusted import shown
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

    batches = list(_batches(file))
    table = pyarrow.Table.from_batches(batches) if batches else pyarrow.table({})
    return table.replace_schema_metadata(None)


def _batches(file: Path) -> Iterator[Any]:
    """The rows of a parquet file in `pyarrow.RecordBatch`es, until they hold more than its bytes can.

    A text that is stored once may stand in a million rows, so what is decoded is counted, too.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.OSFile(str(file)) as source, pyarrow.parquet.ParquetFile(source) as parquet:
            metadata, size = parquet.metadata, file.stat().st_size
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            num_rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
            num_bytes = sum(group.total_byte_size for group in groups)
            most = max(1000 * _MANY, _RATIO * size)
            if num_rows > max(_MANY, size):
                raise _too_large(file, size, f"{num_rows:,} rows")
            if num_bytes > most:
                raise _too_large(file, size, f"{num_bytes:,} bytes")
            # No value is longer than all of them, as they are stored.
            rows = max(1, min(1024, most // max(1, num_bytes)))
            held = 0
            for stored in parquet.iter_batches(rows, use_threads=False):
                columns = [
                    column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
                    for column in stored.columns
                ]
                batch = pyarrow.RecordBatch.from_arrays(columns, names=stored.schema.names)
                held += batch.nbytes
                if held > most:
                    raise _too_large(file, size, f"more than {most:,} bytes")
                yield batch
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        if isinstance(problem, DataError):
            raise
        why = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{file} is not a readable table: {why}") from problem


def _too_large(file: Path, size: int, holds: str) -> DataError:
    return DataError(
        f"{file} has {size:,} bytes and claims to hold {holds}; reading it could exhaust the memory. If "
        "that is right, convert it to JSON lines"
    )


def _parquet_rows(file: Path) -> Iterator[Row]:
    """Rows of a parquet file; one with a cell that Python cannot hold is damaged."""
    for batch in _batches(file):
        try:
            yield from batch.to_pylist()
        except _CELLS:
            for i in range(batch.num_rows):
                yield _parquet_row(batch, i)


def _parquet_row(batch: Any, i: int) -> Row:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[i].as_py()
        except _CELLS as problem:
            return Damaged(f"column {name!r:.60} cannot be read ({str(problem)[:100]})")
    return row


# Bytes that are no text, dates beyond Python's, unknown time zones.
_CELLS = (ValueError, OverflowError, KeyError)
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
        return list(_parquet_rows(file))
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
