"""What was sampled, one line a problem, so that an evaluation goes on where it was killed."""

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
    lines = path.read_bytes().split(b"\n")
    # What follows the last newline was cut.
    return [_record(line, f"{path}, line {i}") for i, line in enumerate(lines[:-1], 1)]


def _record(line: bytes, where: str) -> Record:
    try:
        record = Record(**json.loads(line))
        check(record)
        return record
    except (ValueError, TypeError, RecursionError) as problem:
        raise EvaluationError(
            f"{where}: no record of an evaluation ({problem}); delete the line, or evaluate anew"
        ) from problem


def check(record: Record) -> None:
    """Raise a ValueError that names the first field which no sampling gives.

    A bad number in the store would spoil every later evaluation that goes on with it.
    """
    samples = record.right
    kinds: dict[str, tuple[type, ...]] = {
        "right": (bool,), "answers": (str, NoneType), "tokens": (int,), "texts": (str,),
    }  # fmt: skip
    for name in ("set", "prompt_id", "source", "level"):
        if not isinstance(getattr(record, name), str):
            raise ValueError(f"{name} is {getattr(record, name)!r:.60}, no text")
    for name, kind in kinds.items():
        found = getattr(record, name)
        values = cast("list[Any]", found) if isinstance(found, list) else []
        if not values or len(values) != len(samples):
            raise ValueError(f"{name} is {found!r:.60}, not one value a sample")
        bad = [value for value in values if type(value) not in kind]
        if bad:
            raise ValueError(f"{name} holds {bad[0]!r:.60}")
    if not 0 <= min(record.tokens) <= max(record.tokens) < MOST_TOKENS:
        raise ValueError(f"tokens are {record.tokens!r:.60}, which no model writes")


def rewrite(folder: Path, records: Iterable[Record]) -> None:
    """Write all records anew, by renaming into place."""
    write_text(folder / SAMPLES, "".join(map(_line, records)))


def append(folder: Path, records: Sequence[Record]) -> None:
    """Add records."""
    with open(folder / SAMPLES, "a", encoding="utf-8", opener=no_link) as file:
        file.writelines(map(_line, records))


def _line(record: Record) -> str:
    return json.dumps(asdict(record)) + "\n"  # ASCII: lone surrogates pass
