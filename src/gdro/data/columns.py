"""Which columns of a dataset hold the problem and the answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gdro.common.untrusted import shown
from gdro.data.cells import has_cell
from gdro.data.containers import PACKED
from gdro.data.damage import Damaged, DataError, Row
from gdro.data.listed import RIGHT, choice_columns, counted_from_one
from gdro.data.presets import OTHER_CHOICES, Preset

_TOPICS = ("subject", "category")
PROBLEMS = (
    *("problem", "question.stem", "question_stem", "question", "prompt", "query", "input"),
    *("messages", "conversations"),
)
ANSWERS = (
    *("answer", "final_answer", "expected_answer", "ground_truth", "reward_model.ground_truth"),
    *("gold", "target", "gt_answer", "label", "solution"),
)
_LOOK = 1000  # rows that show which columns there are


def own_preset(rows: Sequence[Row], path: Path, problem: str | None, answer: str | None) -> Preset:
    """The meaning of the columns of a file of one's own."""
    row = _columns(rows)
    level = "level" if "level" in row else None
    source = path.name.removesuffix(PACKED).removesuffix(path.suffix if path.is_file() else "")
    problem = problem or _present(PROBLEMS, row)
    if answer is None and {"Correct Answer", *OTHER_CHOICES} <= row.keys():  # as GPQA has them
        level = level or ("High-level domain" if "High-level domain" in row else None)
        return Preset("", None, "train", problem, "Correct Answer", source, level, "choices")
    stem = Path(source).stem or source
    choices = choice_columns(row)
    if choices:
        answer = answer or _present((*RIGHT, *ANSWERS), row)
        level = level or next((name for name in _TOPICS if name in row), None)
        return Preset("", None, "train", problem, answer, stem, level, "listed", choices)
    answer = answer or _present(ANSWERS, row)
    return Preset("", None, "train", problem, answer, stem, level)


def _columns(rows: Sequence[Row]) -> dict[str, Any]:
    """Columns of the first rows, each with a value that is not null if there is one."""
    columns: dict[str, Any] = {}
    for row in (row for row in rows[:_LOOK] if not isinstance(row, Damaged)):
        columns |= {name: value for name, value in row.items() if columns.get(name) is None}
    return columns


def _present(names: Sequence[str], columns: Mapping[str, Any]) -> str:
    """The first name that is a column, in any case of its letters."""
    lower: dict[str, str] = {}
    for column in columns:
        lower.setdefault(str(column).lower(), str(column))
    known = (name if has_cell(columns, name) else lower.get(name) for name in names)
    return next((name for name in known if name is not None), names[0])


def check_columns(rows: Sequence[Row], preset: Preset, where: str) -> None:
    """Raise a DataError unless the first rows have the columns that a preset needs."""
    columns = _columns(rows)
    if not columns:
        why = f"; row 1: {rows[0]}" if rows and isinstance(rows[0], Damaged) else ""
        raise DataError(f"{where} has no row that can be read{why}")
    missing = [column for column in preset.needed if not has_cell(columns, column)]
    if missing:
        options = {preset.problem: "--problem COLUMN", preset.answer: "--answer COLUMN"}
        how = "" if preset.hub or missing[0] not in options else f"; pass {options[missing[0]]}"
        raise DataError(f"{where} has no column {missing[0]!r}; it has {_names(columns)}{how}")
    shifted = counted_from_one(rows, preset.choices, preset.answer) if preset.choices else None
    if shifted is not None:
        raise DataError(
            f"{where}: the numbers in column {preset.answer!r} seem to count choices from 1 (none is 0, "
            f"and that of row {shifted} is the number of its choices); gdro counts from 0: write "
            "letters, or subtract 1"
        )


def _names(columns: Mapping[str, Any]) -> str:
    """Columns in words; of a column of mappings its parts."""
    names: list[str] = []
    for name, value in columns.items():
        parts: Collection[Any] = value if isinstance(value, dict) else ()
        names += [f"{name}.{part}" for part in parts] or [str(name)]
    return shown(", ".join(names), most=300)
