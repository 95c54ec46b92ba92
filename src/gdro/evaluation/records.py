"""Samples on disk, one line per problem, so that an interrupted evaluation can be continued."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, cast

from gdro.common.files import no_link, read_json, write_json, write_text
from gdro.errors import GdroError

MOST_TOKENS = 10**9
SAMPLES, OPTIONS = "samples.jsonl", "options.json"


class EvaluationError(GdroError):
    """An evaluation cannot be run, continued or compared."""


@dataclass(frozen=True)
class Record:
    """One problem and its S samples.

    Attributes:
        set: Name of the set.
        prompt_id: Id of the problem.
        source: Source of the problem, from the set.
        level: Level of the problem, empty if the set has none.
        right: Whether each sample is right, shape (S,).
        answers: Answer extracted from each sample, None if there is none, shape (S,).
        tokens: Number of tokens of each sample, shape (S,).
        texts: Completions of the model, shape (S,).
    """

    set: str
    prompt_id: str
    source: str
    level: str
    right: list[bool]
    answers: list[str | None]
    tokens: list[int]
    texts: list[str]


def open_folder(folder: Path, options: dict[str, Any]) -> list[Record]:
    """Start or continue an evaluation; `options` are all that its samples depend on.

    Returns:
        The records that the folder holds already; a truncated last line is removed from the file.

    Raises:
        EvaluationError: The folder holds an evaluation with other options.
    """
    path = folder / OPTIONS
    if path.exists():
        before = read_json(path)
        changed = [key for key in {**before, **options} if before.get(key) != options.get(key)]
        if changed:
            key = changed[0]
            was, now = before.get(key), options.get(key)
            raise EvaluationError(
                f"{folder} holds an evaluation with {key}={was!r}, not {now!r}; give another --output, "
                "or the same options"
            )
    write_json(path, options, private=True)
    records = read_records(folder) if (folder / SAMPLES).exists() else []
    rewrite(folder, records)
    return records


def read_records(folder: Path) -> list[Record]:
    """Read the records of an evaluation, without a truncated last line.

    Args:
        folder: Output folder of the evaluation.

    Returns:
        The records, in the order in which they were sampled.

    Raises:
        EvaluationError: The folder holds no evaluation, or a line is damaged.
    """
    path = folder / SAMPLES
    if not path.is_file():
        raise EvaluationError(f"{folder} holds no evaluation (no {SAMPLES}); gdro eval writes one")
    lines = path.read_bytes().split(b"\n")
    # Anything after the last newline is incomplete.
    return [_record(line, f"{path}, line {i}") for i, line in enumerate(lines[:-1], 1)]


def _record(line: bytes, where: str) -> Record:
    try:
        record = Record(**json.loads(line))
        check(record)
        return record
    except (ValueError, TypeError, RecursionError) as problem:
        raise EvaluationError(
            f"{where}: not a record of an evaluation ({problem}); delete the line, or evaluate again"
        ) from problem


def check(record: Record) -> None:
    """Raise a ValueError that names the first field with an impossible value.

    An invalid record on disk would break every later run that continues the evaluation.
    """
    samples = record.right
    kinds: dict[str, tuple[type, ...]] = {"right": (bool,), "answers": (str, NoneType)}
    kinds |= {"tokens": (int,), "texts": (str,)}
    for name in ("set", "prompt_id", "source", "level"):
        if not isinstance(getattr(record, name), str):
            raise ValueError(f"{name} is {getattr(record, name)!r:.60}, not text")
    for name, kind in kinds.items():
        field = getattr(record, name)
        values = cast("list[Any]", field) if isinstance(field, list) else []
        if not values or len(values) != len(samples):
            raise ValueError(f"{name} is {field!r:.60}, not one value per sample")
        bad = [value for value in values if type(value) not in kind]
        if bad:
            raise ValueError(f"{name} holds {bad[0]!r:.60}")
    if not 0 <= min(record.tokens) <= max(record.tokens) < MOST_TOKENS:
        raise ValueError(f"tokens are {record.tokens!r:.60}; allowed: 0 to {MOST_TOKENS:,}")


def rewrite(folder: Path, records: Iterable[Record]) -> None:
    """Replace all records on disk atomically."""
    write_text(folder / SAMPLES, "".join(map(_line, records)))


def append(folder: Path, records: Sequence[Record]) -> None:
    """Append records to the samples on disk."""
    with open(folder / SAMPLES, "a", encoding="utf-8", opener=no_link) as file:
        file.writelines(map(_line, records))


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"  # ASCII: lone surrogates pass
