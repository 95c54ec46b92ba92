"""Load a dataset into one schema: prompt, answer, prompt_id, source, level."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from gdro.common.untrusted import shown
from gdro.data.alike import normalised
from gdro.data.presets import OTHER_CHOICES, PRESETS, Preset
from gdro.data.rows import GYM, SUFFIXES, Damaged, DataError, Row, file_rows, gym_rows, hub_rows
from gdro.rewards.extract import last_boxed

Dedup = Literal["normalised", "exact"]
PROBLEMS = ("problem", "question", "prompt")
ANSWERS = ("answer", "solution", "final_answer")


@dataclass
class Report:
    """Summary of the rows that `load_with_report` read and dropped.

    Attributes:
        read: Number of rows read.
        duplicates: Number of rows dropped because an earlier row has the same problem.
        contradictions: Number of duplicates with a different answer; the first answer is used.
        damaged: Reason for each skipped row, with the row's number (from 1).
    """

    read: int = 0
    duplicates: int = 0
    contradictions: int = 0
    damaged: list[str] = field(default_factory=list[str])


def prompt_id(problem: str) -> str:
    """A stable id of a problem, a hash of its text that ignores differences in spaces.

    >>> prompt_id("1 + 1?") == prompt_id(" 1  + 1?")
    True
    """
    return hashlib.sha256(" ".join(problem.split()).encode("utf-8", "replace")).hexdigest()[:16]


def load(name: str, file: Path | None = None, **options: Any) -> Any:
    """Load a dataset, one row per problem.

    Args:
        name: Name of a preset, a local file, or `reasoning-gym:NAME?size=2000&seed=1`.
        file: Local file with the preset's columns, read instead of the hub.
        **options: Keyword arguments of `load_with_report`.

    Returns:
        A `datasets.Dataset` with the columns `prompt`, `answer`, `prompt_id`, `source`, `level` if the
        source has levels, and `entry` (JSON) if it is from reasoning-gym.

    Raises:
        DataError: The dataset is unknown or cannot be loaded, columns are missing, or a row is damaged.
    """
    return load_with_report(name, file, **options)[0]


def load_with_report(
    name: str,
    file: Path | None = None,
    *,
    skip_damaged: bool = False,
    dedup: Dedup = "normalised",
    problem: str | None = None,
    answer: str | None = None,
) -> tuple[Any, Report]:
    """Load a dataset, and report duplicates and damaged rows.

    Args:
        name: Name of the dataset, as for `load`.
        file: Local file with the preset's columns, as for `load`.
        skip_damaged: Skip rows that lack a problem or an answer or are not JSON; otherwise the first of
            them raises an error.
        dedup: Which problems are duplicates, of which the first is used: those that differ at most in
            spaces (`exact`), or those that `gdro.data.normalised` makes equal (`normalised`).
        problem: Column of the problem in a file of your own; default: problem, question or prompt.
        answer: Column of the answer in it; default: answer, solution or final_answer.

    Returns:
        The `datasets.Dataset`, and the report.

    Raises:
        DataError: As for `load`.
    """
    from datasets import Dataset

    rows, preset, where = _rows(name, file, problem, answer)
    _check_columns(rows, preset, where)
    report = Report(read=len(rows))
    read = [_row(row, preset) for row in rows]
    damaged = [(i, row) for i, row in enumerate(read, 1) if isinstance(row, Damaged)]
    report.damaged = [f"row {number}: {why}" for number, why in damaged]
    if report.damaged and not skip_damaged:
        more = f" ({len(report.damaged)} rows are damaged)" if len(report.damaged) > 1 else ""
        raise DataError(f"{where}, {report.damaged[0]}{more}; fix it, or skip them with --skip-damaged")
    distinct = _distinct([row for row in read if not isinstance(row, Damaged)], dedup, report)
    if not distinct:
        raise DataError(f"{where} has no usable row; give one with a problem and an answer in each row")
    return Dataset.from_list(distinct), report


def _rows(
    name: str, file: Path | None, problem: str | None, answer: str | None
) -> tuple[Sequence[Row], Preset, str]:
    if file is not None and name not in PRESETS:
        raise DataError(
            f"--from {file} is for a set of the hub ({', '.join(PRESETS)}), not for {name!r}; pass only "
            "the file"
        )
    if name.startswith(GYM):
        plain = Preset("", None, "train", "problem", "answer", name.partition("?")[0])
        return gym_rows(name), plain, name
    if name in PRESETS:
        preset = PRESETS[name]
        rows = hub_rows(preset) if file is None else file_rows(file)
        return rows, preset, str(file or preset.hub)
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise DataError(
            f"no set {name!r}; there are: {', '.join(PRESETS)}; or pass a file "
            f"({', '.join(SUFFIXES)}), or {GYM}NAME?size=2000&seed=1"
        )
    rows = file_rows(path)
    columns = next((row for row in rows if not isinstance(row, Damaged)), {})
    problem, answer = problem or _present(PROBLEMS, columns), answer or _present(ANSWERS, columns)
    level = "level" if "level" in columns else None
    return rows, Preset("", None, "train", problem, answer, path.stem, level), name


def _present(names: Sequence[str], columns: Mapping[str, Any]) -> str:
    return next((name for name in names if name in columns), names[0])


def _check_columns(rows: Sequence[Row], preset: Preset, where: str) -> None:
    whole = next((row for row in rows if not isinstance(row, Damaged)), None)
    if whole is None:
        raise DataError(f"{where} has no row that can be read")
    missing = [column for column in preset.needed if column not in whole]
    if missing:
        options = {preset.problem: "--problem COLUMN", preset.answer: "--answer COLUMN"}
        how = "" if preset.hub or missing[0] not in options else f"; pass {options[missing[0]]}"
        columns = shown(", ".join(map(str, whole)), most=300)
        raise DataError(f"{where} has no column {missing[0]!r}; it has {columns}{how}")


def _row(row: Row, preset: Preset) -> Row:
    """The row in gdro's schema, or the reason why it is damaged."""
    if isinstance(row, Damaged):
        return row
    problem = row.get(preset.problem)
    if not isinstance(problem, str) or not problem.strip():
        return Damaged(f"no text in column {preset.problem!r}")
    answer = READERS[preset.reading](row, preset.answer)
    if not answer:
        return Damaged(f"no answer in column {preset.answer!r} (read as: {preset.reading})")
    prompt = problem.strip()
    if preset.reading == "choices":
        if not all(isinstance(row.get(name), str) for name in OTHER_CHOICES):
            return Damaged("a choice is missing")
        prompt, answer = _choices(prompt, answer, [row[name].strip() for name in OTHER_CHOICES])
    level = {"level": row[preset.level]} if preset.level in row else {}
    if not all(value is None or _is_plain(value) for value in level.values()):
        return Damaged(f"column {preset.level!r} is neither text nor a number")
    half = next((v for v in (prompt, answer, *level.values(), row.get("entry")) if _halves(v)), None)
    if half is not None:
        return Damaged(f"half of a character (a lone surrogate) in {half!r:.60}")
    # What reasoning-gym's scorer reads; a column of that name in a file of one's own is not it.
    entry = {"entry": row["entry"]} if isinstance(row.get("entry"), str) else {}
    row = {"prompt": prompt, "answer": answer, "prompt_id": prompt_id(prompt), "source": preset.source}
    return {**row, **level, **entry}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)


def _halves(value: Any) -> bool:
    """Whether a text has lone surrogates, so that it can be neither written nor hashed."""
    return isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)


def _choices(problem: str, right: str, wrong: Sequence[str]) -> tuple[str, str]:
    """The problem with its choices below, and the right letter; the text alone fixes the order."""
    texts = sorted({right, *wrong}, key=lambda text: prompt_id(f"{problem}\n{text}"))
    lines = [f"{letter}) {text}" for letter, text in zip("ABCD", texts, strict=False)]
    return "\n".join([problem, "", *lines]), "ABCD"[texts.index(right)]


def _distinct(rows: Sequence[dict[str, Any]], dedup: Dedup, report: Report) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = normalised(row["prompt"]) if dedup == "normalised" else row["prompt_id"]
        original = first.setdefault(key, row)
        report.duplicates += original is not row
        report.contradictions += original["answer"] != row["answer"]
    distinct = list(first.values())
    if len({type(row["level"]) for row in distinct if row.get("level") is not None}) > 1:
        for row in distinct:  # a column has one type
            row["level"] = None if row.get("level") is None else str(row["level"])
    return distinct


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    no_number = isinstance(value, float) and not isfinite(value)
    return "" if value is None or no_number or isinstance(value, list | dict) else str(value).strip()


def _after_hash(row: Mapping[str, Any], column: str) -> str:
    _, mark, answer = _text(row, column).rpartition("####")
    return answer.strip().replace(",", "") if mark else ""


def _first(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return str(value[0]).strip().strip("$") if isinstance(value, list) and value else _text(row, column)


READERS: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    "text": _text,
    "after ####": _after_hash,
    "last box": lambda row, column: last_boxed(_text(row, column)) or "",
    "first": _first,
    "choices": _text,
}
