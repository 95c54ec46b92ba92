"""Read run logs into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from gdro.common.files import read_json
from gdro.common.schema import Fault, Record, is_number
from gdro.log import schema
from gdro.log.run_log import COMPLETIONS, GROUPS, PROMPTS, RUN, SCHEMA, STEPS, read_jsonl
from gdro.numerics.arrays import FloatArray
from gdro.report.visits import ReportError, Visits, visits_of

__all__ = ["ReportError", "Run", "load_runs", "log_folders"]


@dataclass(frozen=True, eq=False)
class Run:
    """One run's log; S steps, C = 1 + B columns of which the first is the unseen prompts.

    Attributes:
        name: Name of the arm or folder.
        bins: `prompts`, `rollouts`, `weight`, `pass_rate` by step and bin, each (S, C), NaN where a
            bin was absent.
        metrics: Scalars by name, each (S,), NaN where missing.
        ledger: Cumulative counts by name, each (S,).
        evaluation: Held-out evaluation, if there is one.
        header: What ran (`run.json`).
        ticket_S: Ticket of each step, in the order of closing.
        strategy: What the strategy tells by bin, each (S, B), e.g. `q` of Prompt-GDRO.
        log: Folder of the log.
    """

    name: str
    bins: dict[str, FloatArray]
    metrics: dict[str, FloatArray]
    ledger: dict[str, FloatArray]
    evaluation: dict[str, Any] | None
    header: dict[str, Any] = field(default_factory=dict[str, Any])
    ticket_S: Sequence[int] = ()
    strategy: dict[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    log: Path | None = None

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.bins["prompts"])

    @property
    def num_bins(self) -> int:
        """B."""
        return self.bins["prompts"].shape[1] - 1

    @cached_property
    def visits(self) -> Visits | None:
        """Rollout groups of the run, read when first asked for; None without `groups.jsonl`."""
        if self.log is None or not (self.log / GROUPS).exists():
            return None
        place = {ticket: step for step, ticket in enumerate(self.ticket_S)}

        def check(record: Record) -> None:
            schema.group(record)
            if record["bin"] >= self.num_bins:
                raise Fault(f"has bin = {record['bin']}; the run has {self.num_bins} bins")

        return visits_of(read_jsonl(self.log / GROUPS, check), place)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Beginnings of prompts by key, as far as the log has them."""
        return self._texts(PROMPTS)

    @cached_property
    def completions(self) -> dict[str, str]:
        """Beginnings of the last completion that was written down, by key of the prompt."""
        return self._texts(COMPLETIONS)

    def _texts(self, name: str) -> dict[str, str]:
        if self.log is None or not (self.log / name).exists():
            return {}
        return {r["key"]: r["text"] for r in read_jsonl(self.log / name, schema.text)}


def load_runs(directories: Sequence[Path]) -> tuple[list[Run], dict[str, Any] | None]:
    """Read runs: a folder is a run log itself, or holds one in `gdro/`, or one an arm.

    Args:
        directories: Folders.

    Returns:
        The runs, and the summary where the first folder has one.

    Raises:
        ReportError: A folder holds no run log, an empty one, or one of a newer format.
        LogError: A line is damaged.
    """
    runs = [run for directory in directories for run in _runs(Path(directory))]
    path = Path(directories[0]) / "summary.json"
    return _told_apart(runs), _checked_json(path, schema.summary) if path.exists() else None


def _checked_json(path: Path, check: schema.Check) -> dict[str, Any]:
    return _whole(schema.checked(read_json(path, (), ReportError), check, str(path), ReportError))


def _whole(data: Any) -> Any:
    """JSON data without halves of characters, which neither a page nor a picture can hold."""
    if isinstance(data, dict):
        return {_whole(key): _whole(value) for key, value in cast("dict[str, Any]", data).items()}
    if isinstance(data, list):
        return [_whole(value) for value in cast("list[Any]", data)]
    return data.encode("utf-8", "replace").decode() if isinstance(data, str) else data


def log_folders(directory: Path) -> list[Path]:
    """Folders of the run logs that `load_runs` reads for a directory; none if it is no run."""
    for log in (directory, directory / "gdro"):
        if (log / STEPS).exists():
            return [log]
    return sorted((p.parent for p in directory.glob(f"*/gdro/{STEPS}")), key=_order)


def _runs(directory: Path) -> list[Run]:
    logs = log_folders(directory)
    if not logs:
        raise ReportError(
            f"{directory} has no {STEPS}, gdro/{STEPS} or */gdro/{STEPS}; pass a trainer's output_dir "
            "or the folder of `gdro train`"
        )
    return [_run(_name(log), log) for log in logs]


def _name(log: Path) -> str:
    # TRL writes OUTPUT_DIR/gdro, verl RUN/checkpoints/gdro; an arm may be called gdro itself.
    folder = log.absolute()
    for written in ("gdro", "checkpoints"):
        if folder.name == written:
            folder = folder.parent
    return _whole(folder.name)


def _order(log: Path) -> tuple[bool, str]:
    return log.parent.name not in ("grpo", "uniform"), log.parent.name  # the baseline first


def _told_apart(runs: list[Run]) -> list[Run]:
    """Runs of one name get the folder above in front of it."""
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1 and run.log is not None:
            above = run.log.absolute().parents[1 if run.log.absolute().name == "gdro" else 0]
            object.__setattr__(run, "name", f"{above.name}/{run.name}")
    return runs


def _run(name: str, log: Path) -> Run:
    steps = list(read_jsonl(log / STEPS, schema.StepSequence()))
    if not steps:
        raise ReportError(f"{log / STEPS} is empty; train at least one step")
    header = _header(log / RUN)
    bins = {k: _column([s["bins"][k] for s in steps]) for k in steps[0]["bins"]}
    metrics = _scalars([s["metrics"] for s in steps], log)
    for metric in _DRAWN:  # absent where nothing was judged in any step
        metrics.setdefault(metric, np.full(len(steps), np.nan))
    ledger = _scalars([s["ledger"] for s in steps], log)
    told = [s.get("strategy", {}) for s in steps]
    strategy = {k: _column([t[k] for t in told]) for k in told[0]}
    folder = log.parent if log.name == "gdro" else log
    evaluation = folder / "eval.json"
    found = _checked_json(evaluation, schema.evaluation) if evaluation.exists() else None
    tickets = [s["ticket"] for s in steps]
    return Run(name, bins, metrics, ledger, found, header, tickets, strategy, log)


def _header(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ReportError(f"{path.parent} has no {path.name}; copy the whole folder of the log")
    version = read_json(path, ("schema",), ReportError)["schema"]
    if version != SCHEMA:
        raise ReportError(
            f"{path} has format {version!r:.60}, this version reads {SCHEMA}; upgrade gdro"
        )
    return _checked_json(path, schema.header)


def _column(rows: list[list[float | None]]) -> FloatArray:
    return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)


def _scalars(rows: list[dict[str, float]], log: Path) -> dict[str, FloatArray]:
    """Columns by name, NaN where a row lacks the name, or has no number that can be drawn.

    Raises:
        ReportError: So many names that the table would be far larger than the file.
    """
    names = dict.fromkeys(name for record in rows for name in record)
    cells, values = len(names) * len(rows), sum(map(len, rows))
    if cells > max(_SMALL, _SPARSE * values):
        raise ReportError(
            f"{log / STEPS} has {len(names):,} names of metrics in {len(rows):,} steps, most of them in "
            "few; it is no run log of gdro, or damaged: move the file away"
        )
    columns = {name: np.full(len(rows), np.nan) for name in names}
    for place, record in enumerate(rows):
        for name, value in record.items():
            if is_number(value):
                columns[name][place] = value
    return columns


_DRAWN = ("pass_rate", "all_right", "mixed", "all_wrong", "rollouts_mean")
_SMALL, _SPARSE = 1_000_000, 64  # cells of any table; cells of a large one for each value of the file
