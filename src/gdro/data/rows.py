"""Raw rows from the hub, local files, or reasoning-gym."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from gdro.common.files import parsed
from gdro.common.untrusted import shown
from gdro.data.containers import SUFFIXES, files_of, is_parquet, opened, suffix_of
from gdro.data.csv_rows import csv_rows
from gdro.data.damage import Damaged, DataError, Row
from gdro.data.json_rows import json_rows
from gdro.data.parquet import parquet_columns, parquet_rows
from gdro.data.presets import Preset

__all__ = [
    "GYM",
    "SUFFIXES",
    "Damaged",
    "DataError",
    "Row",
    "file_rows",
    "gym_rows",
    "hub_rows",
    "read_table",
]

GYM = "reasoning-gym:"


def read_table(file: Path) -> Any:
    """Read a .parquet, .json, .jsonl or .csv file into a `datasets.Dataset`.

    Raises:
        DataError: The file is missing, of another kind, or unreadable.
    """
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    check_file(file)
    if file.suffix == ".parquet":
        return Dataset(parquet_columns(file))
    reader = Dataset.from_csv if file.suffix == ".csv" else Dataset.from_json
    try:
        return reader(str(file))
    except (OSError, ValueError, DatasetGenerationError) as problem:
        raise DataError(f"{file} is not a readable table: {str(problem).splitlines()[0]}") from problem


def check_file(file: Path) -> None:
    """Raise a DataError unless this is a file of a supported kind."""
    if file.suffix not in SUFFIXES or not file.is_file():
        raise DataError(f"cannot read {file}: give an existing {', '.join(SUFFIXES)} file")


def file_rows(place: Path) -> list[Row]:
    """Rows of a local file, or of the files of a folder or pattern, damaged ones among them.

    Raises:
        DataError: A file is missing, of another kind, or unreadable as a whole; or files are of
            different splits.
    """
    files = files_of(place)
    check_splits(files, place)
    if len(files) == 1:
        return list(rows_of(files[0]))
    return [_placed(row, file, i) for file in files for i, row in enumerate(rows_of(file), 1)]


def check_splits(files: Sequence[Path], place: Path) -> None:
    """Raise a DataError if the names of files are those of several splits, such as train and test."""
    splits = {name for file in files for name in _SPLITS if file.name.lower().startswith(name)}
    if len(files) > 1 and len(splits) > 1:
        raise DataError(
            f"{place} holds files of several splits ({', '.join(sorted(splits))}); give one of them, "
            f"e.g. '{place if place.is_dir() else place.parent}/{min(splits)}*'"
        )


_SPLITS = ("train", "test", "valid", "dev", "eval")


def _placed(row: Row, file: Path, number: int) -> Row:
    return Damaged(f"row {number} of {file.name}: {row}") if isinstance(row, Damaged) else row


def rows_of(file: Path) -> Iterator[Row]:
    """Rows of one local file, read as they are asked for if it is parquet or lines of JSON.

    Raises:
        DataError: As for `file_rows`.
    """
    try:
        if is_parquet(file):
            yield from parquet_rows(file)
            return
    except OSError as problem:
        raise DataError(f"cannot read {file}: {problem.strerror or problem}") from problem
    with opened(file) as source:
        yield from (csv_rows if suffix_of(file) in (".csv", ".tsv") else json_rows)(source, file)


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
