"""Load a dataset into one schema: prompt, answer, prompt_id, source, level."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from gdro.data.alike import normalised
from gdro.data.answers import answer_of_row, is_prose, is_solution
from gdro.data.cells import cell, text_of
from gdro.data.columns import check_columns, own_preset
from gdro.data.containers import SUFFIXES, suffix_of
from gdro.data.damage import Damaged, DataError, Row, Unfit
from gdro.data.listed import listed
from gdro.data.presets import OTHER_CHOICES, PRESETS, Preset
from gdro.data.problems import asked
from gdro.data.rows import GYM, file_rows, gym_rows, hub_rows

Dedup = Literal["normalised", "exact"]


@dataclass
class Report:
    """Summary of the rows that `load_with_report` read and dropped.

    Attributes:
        read: Number of rows read.
        duplicates: Number of rows dropped because an earlier row has the same problem.
        contradictions: Number of duplicates with a different answer; the first answer is used.
        damaged: Reason for each skipped row, with the row's number (from 1).
        instructions: Number of problems around which a known instruction stood, which is left out.
        systems: Number of problems before which a system message stood, which is left out.
        solutions: Number of answers that were read out of a solution.
        prose: Number of answers that read like sentences, which few rewards can compare.
    """

    read: int = 0
    duplicates: int = 0
    contradictions: int = 0
    damaged: list[str] = field(default_factory=list[str])
    instructions: int = 0
    systems: int = 0
    solutions: int = 0
    prose: int = 0


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
        source has levels, `choices` (their number) if its rows list choices, and `entry` (JSON) if it is
        from reasoning-gym.

    Raises:
        DataError: The dataset is unknown or cannot be loaded, columns are missing, or a row is damaged.
    """
    table, report = load_with_report(name, file, **options)
    if report.prose:
        warnings.warn(prose_note(report, len(table)), UserWarning, stacklevel=2)
    return table


def prose_note(report: Report, num_problems: int) -> str:
    """What to say of answers that are sentences."""
    return (
        f"{report.prose:,} of {num_problems:,} answers read like sentences or solutions: a math reward "
        "can hardly compare them, and gives 0; name the column of the answer alone (--answer COLUMN)"
    )


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
    check_columns(rows, preset, where)
    report = Report(read=len(rows))
    read = [_row(row, preset, report) for row in rows]
    damaged = [(i, row) for i, row in enumerate(read, 1) if isinstance(row, Damaged)]
    report.damaged = [f"row {number}: {why}" for number, why in damaged]
    if report.damaged and not skip_damaged:
        more = f" ({len(report.damaged)} rows are damaged)" if len(report.damaged) > 1 else ""
        raise DataError(f"{where}, {report.damaged[0]}{more}; fix it, or skip them with --skip-damaged")
    distinct = _distinct([row for row in read if not isinstance(row, Damaged)], dedup, report)
    if not distinct:
        raise DataError(f"{where} has no usable row; give one with a problem and an answer in each row")
    report.prose = sum(is_prose(row["answer"]) for row in distinct if "entry" not in row)
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
        source = name.partition("?")[0]
        return (
            gym_rows(name),
            Preset("", None, "train", "problem", "answer", source, None, "as it is"),
            name,
        )
    if name in PRESETS:
        preset = PRESETS[name]
        rows = hub_rows(preset) if file is None else file_rows(file)
        return rows, preset, str(file or preset.hub)
    path = Path(name)
    if suffix_of(path) not in SUFFIXES and not path.is_dir():
        raise DataError(
            f"no set {name!r}; there are: {', '.join(PRESETS)}; or pass a file "
            f"({', '.join(SUFFIXES)}), a folder of files, or {GYM}NAME?size=2000&seed=1"
        )
    rows = file_rows(path)
    return rows, own_preset(rows, path, problem, answer), name


def _row(row: Row, preset: Preset, report: Report) -> Row:
    """The row in gdro's schema, or the reason why it is damaged."""
    if isinstance(row, Damaged):
        return row
    try:
        problem = asked(cell(row, preset.problem), preset.problem)
        if not problem.text:
            return Damaged(f"no text in column {preset.problem!r}")
        prompt, answer, extra = problem.text, "", dict[str, Any]()
        if preset.choices:
            prompt, answer, number = listed(prompt, row, preset.choices, preset.answer)
            extra = {"choices": number}
        else:
            answer = answer_of_row(row, preset.answer, preset.reading)
        if preset.reading == "choices":
            prompt, answer = _choices(prompt, answer, [_choice(row, name) for name in OTHER_CHOICES])
        level = {"level": _level(row[preset.level], preset.level)} if preset.level in row else {}
    except Unfit as fault:
        return Damaged(str(fault))
    half = next((v for v in (prompt, answer, *level.values(), row.get("entry")) if _halves(v)), None)
    if half is not None:
        return Damaged(f"half of a character (a lone surrogate) in {half!r:.60}")
    report.instructions += problem.instruction
    report.systems += problem.system
    report.solutions += preset.reading == "text" and is_solution(str(cell(row, preset.answer)))
    # What reasoning-gym's scorer reads; a column of that name in a file of one's own is not it.
    entry = {"entry": row["entry"]} if isinstance(row.get("entry"), str) else {}
    row = {"prompt": prompt, "answer": answer, "prompt_id": prompt_id(prompt), "source": preset.source}
    return {**row, **level, **entry, **extra}


def _level(value: Any, column: str) -> Any:
    """A level that a column of a dataset can hold."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, Decimal) or hasattr(value, "isoformat"):
        return str(value)
    raise Unfit(f"column {column!r} is neither text nor a number")


def _choice(row: Mapping[str, Any], column: str) -> str:
    text = text_of(row.get(column))
    if not text:
        raise Unfit(f"a choice is missing: column {column!r} is empty")
    return text


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
