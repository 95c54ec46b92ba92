"""Samples on disk, one line per problem, so that an interrupted evaluation can be continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, cast

from gdro.common.files import no_link, parsed, read_json, write_json, write_text
from gdro.errors import GdroError

MOST_TOKENS = 10**9
SAMPLES, OPTIONS = "samples.jsonl", "options.json"
CUT, REFUSED = "length", "refused: "


class EvaluationError(GdroError):
    """An evaluation cannot be run, continued or compared."""


class Completion(NamedTuple):
    """One completion of a prompt; generators may return pairs of text and tokens instead.

    Attributes:
        text: What the model wrote.
        tokens: Number of its tokens, None if the server does not say.
        ending: `length` if it was cut off, `refused: ` and the reason if the server refused the prompt,
            else empty.
    """

    text: str
    tokens: int | None
    ending: str = ""


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
        tokens: Number of tokens of each sample, None if unknown, shape (S,).
        texts: Completions of the model, shape (S,).
        endings: How each sample ended, as in `Completion`, shape (S,); empty in files of older versions.
        prompt_hash: Fingerprint of the prompt, empty if unknown.
        gold_hash: Fingerprint of the right answer, empty if unknown.
    """

    set: str
    prompt_id: str
    source: str
    level: str
    right: list[bool]
    answers: list[str | None]
    tokens: list[int | None]
    texts: list[str]
    endings: list[str] = field(default_factory=list)
    prompt_hash: str = ""
    gold_hash: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Set and id of the problem."""
        return self.set, self.prompt_id


_FIELDS = {f.name for f in fields(Record)}
_NEEDED = [f.name for f in fields(Record) if f.default is MISSING and f.default_factory is MISSING]


def prompt_hash(row: Mapping[str, Any]) -> str:
    """Fingerprint of what the model is asked."""
    return _hash(row["prompt"])


def gold_hash(row: Mapping[str, Any]) -> str:
    """Fingerprint of what answers are compared with."""
    return _hash([row.get("answer"), row.get("entry")])


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:16]


def open_folder(folder: Path, options: dict[str, Any]) -> list[Record]:
    """Start or continue an evaluation; `options` are all that its samples depend on.

    Returns:
        The records that the folder holds already; a truncated last line is removed from the file.

    Raises:
        EvaluationError: The folder holds an evaluation with other options.
    """
    path = folder / OPTIONS
    if path.exists():
        before = read_json(path, error=EvaluationError)
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
    lines = list(enumerate(path.read_bytes().split(b"\n"), 1))
    records = [_record(line, f"{path}, line {i}") for i, line in lines[:-1] if line.strip()]
    try:
        return [*records, _parsed(lines[-1][1])]
    except ValueError:  # empty, or cut off by a kill
        return records


def _record(line: bytes, where: str) -> Record:
    try:
        return _parsed(line)
    except ValueError as problem:
        raise EvaluationError(
            f"{where}: not a record of an evaluation ({problem}); delete the line, or evaluate again"
        ) from problem


def _parsed(line: bytes) -> Record:
    data = parsed(line)
    given: dict[str, Any] = data if isinstance(data, dict) else {}
    lacking = [name for name in _NEEDED if name not in given]
    foreign = [str(name)[:60] for name in given if name not in _FIELDS]
    if lacking or foreign:
        what = f"lacks {', '.join(lacking)}" if lacking else f"has a foreign field {foreign[0]!r}"
        raise ValueError(f"it {what}")
    record = Record(**given)
    check(record)
    return record


def check(record: Record) -> None:
    """Raise a ValueError that names the first field with an impossible value.

    An invalid record on disk would break every later run that continues the evaluation.
    """
    samples = record.right
    kinds: dict[str, tuple[type, ...]] = {"right": (bool,), "answers": (str, NoneType)}
    kinds |= {"tokens": (int, NoneType), "texts": (str,)}
    if record.endings != []:
        kinds["endings"] = (str,)
    for name in ("set", "prompt_id", "source", "level", "prompt_hash", "gold_hash"):
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
    known = [tokens for tokens in record.tokens if tokens is not None]
    if known and not 0 <= min(known) <= max(known) < MOST_TOKENS:
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
