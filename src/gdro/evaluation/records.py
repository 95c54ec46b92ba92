"""What was sampled, one line a problem, so that an evaluation goes on where it was killed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gdro.errors import GdroError
from gdro.files import no_link, read_json, write_json, write_text

SAMPLES, OPTIONS = "samples.jsonl", "options.json"


class EvaluationError(GdroError):
    """An evaluation cannot be made, continued or compared."""


@dataclass(frozen=True)
class Record:
    """One problem and its S samples.

    Attributes:
        set: Name of the set.
        prompt_id: Of the problem.
        source: Of the problem, as the set says.
        level: Of the problem, empty if the set has none.
        right: Whether each sample is right, shape (S,).
        answers: The answer that was found in each, shape (S,).
        tokens: Tokens of each, shape (S,).
        texts: What the model wrote, shape (S,).
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
    """Begin or go on with an evaluation.

    Args:
        folder: Of the evaluation.
        options: All that the samples depend on.

    Returns:
        What is there already; a line that a kill cut is removed from the file.

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
    """Read what an evaluation sampled, up to a line that a kill cut.

    Raises:
        EvaluationError: The folder holds no evaluation.
    """
    path = folder / SAMPLES
    if not path.is_file():
        raise EvaluationError(f"{folder} holds no evaluation (no {SAMPLES}); gdro eval writes one")
    lines = path.read_text(encoding="utf-8").split("\n")
    # What follows the last newline was cut.
    return [_record(line, f"{path}, line {i}") for i, line in enumerate(lines[:-1], 1)]


def _record(line: str, where: str) -> Record:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError) as problem:
        raise EvaluationError(
            f"{where}: no record of an evaluation ({problem}); delete the line, or evaluate anew"
        ) from problem


def rewrite(folder: Path, records: Iterable[Record]) -> None:
    """Write all records anew, by renaming into place."""
    write_text(folder / SAMPLES, "".join(map(_line, records)))


def append(folder: Path, records: Sequence[Record]) -> None:
    """Add records."""
    with open(folder / SAMPLES, "a", encoding="utf-8", opener=no_link) as file:
        file.writelines(map(_line, records))


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"  # ASCII: lone surrogates pass
