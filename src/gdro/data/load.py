"""Load a set into one schema: prompt, answer, prompt_id, source, level."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gdro.data.presets import PRESETS, Preset
from gdro.errors import GdroError


class DataError(GdroError):
    """A set is not to be had, or lacks what it should have."""


def prompt_id(problem: str) -> str:
    """A stable id: it depends on the problem's text but for its spaces, not on its place in the set.

    >>> prompt_id("1 + 1?") == prompt_id(" 1  + 1?")
    True
    """
    return hashlib.sha256(" ".join(problem.split()).encode()).hexdigest()[:16]


def load(name: str, file: Path | None = None) -> Any:
    """Load a set, one row a problem.

    Args:
        name: Of a preset.
        file: A local .parquet, .json or .jsonl file with the preset's columns, in place of the hub.

    Returns:
        A `datasets.Dataset` with the columns `prompt`, `answer`, `prompt_id`, `source`, and `level`
        where the set has one. Problems that differ in spaces only are one; the first stays.

    Raises:
        DataError: There is no such preset, the set cannot be loaded, or columns are missing.
    """
    if name not in PRESETS:
        raise DataError(f"no set {name!r}; there are: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    table = _from_hub(preset, name) if file is None else read_table(file)
    needed = [preset.problem, preset.answer]
    missing = [column for column in needed if column not in table.column_names]
    if missing:
        raise DataError(
            f"{file or preset.hub} has no column {missing[0]!r}; it has {', '.join(table.column_names)}"
        )
    renamed = table.map(_row, fn_kwargs={"preset": preset}, remove_columns=table.column_names)
    seen: dict[str, int] = {}
    for row, key in enumerate(renamed["prompt_id"]):
        seen.setdefault(key, row)
    return renamed.select(list(seen.values()))


def _row(row: dict[str, Any], preset: Preset) -> dict[str, Any]:
    problem = str(row[preset.problem]).strip()
    level = {"level": row[preset.level]} if preset.level in row else {}
    found = {"prompt": problem, "answer": str(row[preset.answer]).strip()}
    return {**found, "prompt_id": prompt_id(problem), "source": preset.source, **level}


def _from_hub(preset: Preset, name: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(preset.hub, preset.config, split=preset.split)
    except (OSError, ValueError) as problem:  # ConnectionError is an OSError
        raise DataError(
            f"cannot load {preset.hub} from the hub: {str(problem).splitlines()[0]}; without a network "
            f"pass a file with its columns: gdro data {name} --from FILE"
        ) from problem


def read_table(file: Path) -> Any:
    """Read a local file of rows.

    Args:
        file: .parquet, .json or .jsonl.

    Returns:
        A `datasets.Dataset`.

    Raises:
        DataError: It is missing, of another kind, or unreadable.
    """
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    readers = {".parquet": Dataset.from_parquet, ".json": Dataset.from_json, ".jsonl": Dataset.from_json}
    if file.suffix not in readers or not file.is_file():
        raise DataError(f"cannot read {file}: give an existing .parquet, .json or .jsonl file")
    try:
        return readers[file.suffix](str(file))
    except (OSError, ValueError, DatasetGenerationError) as problem:
        raise DataError(f"{file} is no readable table: {str(problem).splitlines()[0]}") from problem
