"""Reward logs of any program: rows are found, and grouped by prompt and step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.schema import Fault
from gdro.data.containers import by_numbers, files_of, is_table
from gdro.data.damage import Damaged, DataError, Truncated
from gdro.data.rows import check_splits, rows_of
from gdro.report.diagnose.columns import Columns, columns_of
from gdro.report.diagnose.grouping import Group, Grouping, Key
from gdro.report.diagnose.rewards import RewardLog
from gdro.report.diagnose.traces import flat_rows, trace_files
from gdro.report.visits import ReportError

_LOOK = 256  # rows that show which columns there are
Place = tuple[Path, int]  # file and number of the row in it


def read_rewards(
    path: Path,
    threshold: float = 0.5,
    *,
    id_column: str | None = None,
    reward_columns: Sequence[str] = (),
) -> RewardLog:
    """Read a reward log: rows of one rollout or of one group, in the columns of any program.

    Rows of the same prompt and step are a group; so is one row with a list of rewards, or with counts as
    in `groups.jsonl`. Rewards of null or NaN are left out, and so is a last line that was cut off.

    Args:
        path: File (JSON, JSONL, CSV, parquet; gzip too), folder of files, or pattern.
        threshold: A rollout is right if its reward is above it.
        id_column: Column that names the prompt; default: the first known one under which prompts repeat.
        reward_columns: Columns whose sum is the reward; default: a known one.

    Raises:
        ReportError: There is no such file, it has no such columns, or a row is damaged.
        DataError: A file is unreadable as a whole.
    """
    files = log_files(path)
    rows = _rows(files)
    head = list(islice(rows, _LOOK))
    if not head:
        raise ReportError(f"{path} holds no scored rollout")
    columns = columns_of([row for _, row in head], str(files[0]), id_column, reward_columns)
    grouping = Grouping(columns, threshold, len(files))
    for place, row in chain(head, rows):
        _add(grouping, row, place, files)
    if not grouping:
        raise ReportError(f"{path} holds no scored rollout")
    try:
        groups, column = grouping.groups()
    except Fault as fault:
        raise ReportError(f"{path}: {fault}; name the column with --id") from fault
    return _log(groups, grouping.notes(groups, column), columns)


def _log(groups: list[Group], notes: list[str], columns: Columns) -> RewardLog:
    keys: dict[Key, int] = {}
    rows = [(keys.setdefault(key, len(keys)), *rest) for key, *rest in groups]
    prompt_V, step_V, n_V, right_V, gradient_V = np.array(rows, np.int64).T
    parts = len({part for part, _ in keys})
    names = [f"{part}/{name}" if parts > 1 and part else name for part, name in keys]
    return RewardLog(names, prompt_V, n_V, right_V, step_V, gradient_V, tuple(notes), columns.program)


def log_files(path: Path) -> list[Path]:
    """The files of a log: of a trainer's folder those that it logs rollouts to.

    Raises:
        ReportError: There is none.
        DataError: The folder holds files of several kinds or splits.
    """
    inside = [path / name for name in ("groups.jsonl", "gdro/groups.jsonl") if (path / name).is_file()]
    folders = [path / name for name in ("completions", "rollouts") if (path / name).is_dir()]
    samples = sorted(f for f in path.rglob("samples_*") if is_table(f)) if path.is_dir() else []
    traces = trace_files(path) if path.is_dir() else []
    if inside or samples or traces:
        return inside[:1] or samples or sorted(traces, key=by_numbers)
    place = folders[0] if folders else path
    try:
        files = files_of(place, deep=True)
    except DataError as problem:
        if place.exists():
            raise
        raise ReportError(
            f"{path} is not a file, and no folder or pattern of files; pass a reward log"
        ) from problem
    check_splits(files, place)
    return files


def _rows(files: Iterable[Path]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Rows of all files; a last line that was cut off is left out."""
    for file in files:
        for number, row in enumerate(rows_of(file), 1):
            if isinstance(row, Truncated) and number > 1:
                continue
            if isinstance(row, Damaged):
                raise ReportError(f"{file}, row {number}: {row}; delete it, or move the file away")
            try:
                yield from (((file, number), flat) for flat in flat_rows(row))
            except Fault as fault:
                raise ReportError(f"{file}, row {number}: {fault}") from fault


def _add(grouping: Grouping, row: Mapping[str, Any], place: Place, files: Sequence[Path]) -> None:
    file, number = place
    try:
        grouping.add(row, file)
    except Fault as fault:
        raise ReportError(
            f"{file}, row {number}: needs prompt_id and rewards (numbers), a prompt and a reward, or "
            f"key, n and successes as in groups.jsonl ({fault})"
        ) from fault
