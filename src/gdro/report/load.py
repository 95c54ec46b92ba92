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

__all__ = ["LoggedRun", "ReportError", "load_runs", "log_folders"]

# Metrics that figures need; absent where no step had a verdict or a reward.
_DRAWN = ("pass_rate", "gradient", "flat_right", "flat_wrong", "gradient_rollouts", "rollouts_mean")
_SMALL, _SPARSE = 1_000_000, 64  # cells of any table; cells of a large one for each value of the file


@dataclass(frozen=True, eq=False)
class LoggedRun:
    """The log of one run: S steps, and C = 1 + B columns, the unseen prompts and each bin.

    Attributes:
        name: Name of the arm or folder.
        bins: `prompts`, `rollouts`, `weight`, `pass_rate` by step and bin, each (S, C), NaN where a
            bin was absent.
        metrics: Scalars by name, each (S,), NaN where missing.
        ledger: Cumulative counts by name, each (S,).
        evaluation: Held-out evaluation, if there is one.
        header: What ran (`run.json`).
        ticket_S: Ticket of each step, in the order of closing.
        strategy: What the strategy reports by bin, each (S, B), e.g. `q` of Prompt-GDRO.
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
        """Steps of the log, S."""
        return len(self.bins["prompts"])

    @property
    def num_bins(self) -> int:
        """Bins of the run, B."""
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
        """Beginnings of the prompts in the log, by key."""
        return self._texts(PROMPTS)

    @cached_property
    def sources(self) -> dict[str, str]:
        """Source of each prompt in the log that has one, by key."""
        if self.log is None or not (self.log / PROMPTS).exists():
            return {}
        records = read_jsonl(self.log / PROMPTS, schema.text)
        return {r["key"]: r["source"] for r in records if r.get("source")}

    @cached_property
    def completions(self) -> dict[str, str]:
        """Beginnings of the last logged completion of each prompt, by key."""
        return self._texts(COMPLETIONS)

    def _texts(self, name: str) -> dict[str, str]:
        if self.log is None or not (self.log / name).exists():
            return {}
        return {r["key"]: r["text"] for r in read_jsonl(self.log / name, schema.text)}


def load_runs(directories: Sequence[Path]) -> tuple[list[LoggedRun], dict[str, Any] | None]:
    """Runs of folders, each a run log, or with one in `gdro/` or in `*/gdro/`; and the first's summary.

    Raises:
        ReportError: A folder holds no run log, an empty one, or one of a newer format.
        LogError: A line is damaged.
    """
    runs = [run for directory in directories for run in _runs(Path(directory))]
    path = Path(directories[0]) / "summary.json"
    return _renamed(runs), _checked_json(path, schema.summary) if path.exists() else None


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


def _runs(directory: Path) -> list[LoggedRun]:
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


def _renamed(runs: list[LoggedRun]) -> list[LoggedRun]:
    """Prefix names that several runs share with the folder above."""
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1 and run.log is not None:
            above = run.log.absolute().parents[1 if run.log.absolute().name == "gdro" else 0]
            object.__setattr__(run, "name", f"{above.name}/{run.name}")
    return runs


def _run(name: str, log: Path) -> LoggedRun:
    steps = list(read_jsonl(log / STEPS, schema.StepSequence()))
    if not steps:
        raise ReportError(f"{log / STEPS} is empty; train at least one step")
    header = _header(log / RUN)
    bins = {k: np.array([s["bins"][k] for s in steps], np.float64) for k in steps[0]["bins"]}
    metrics = _scalars([s["metrics"] for s in steps], log)
    for metric in _DRAWN:
        metrics.setdefault(metric, np.full(len(steps), np.nan))
    ledger = _scalars([s["ledger"] for s in steps], log)
    reported = [s.get("strategy", {}) for s in steps]
    strategy = {k: np.array([r[k] for r in reported], np.float64) for k in reported[0]}
    folder = log.parent if log.name == "gdro" else log
    evaluation = folder / "eval.json"
    scores = _checked_json(evaluation, schema.evaluation) if evaluation.exists() else None
    tickets = [s["ticket"] for s in steps]
    return LoggedRun(name, bins, metrics, ledger, scores, header, tickets, strategy, log)


def _header(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ReportError(f"{path.parent} has no {path.name}; copy the whole folder of the log")
    version = read_json(path, ("schema",), ReportError)["schema"]
    if version != SCHEMA:
        raise ReportError(
            f"{path} has format {version!r:.60}, this version reads {SCHEMA}; upgrade gdro"
        )
    return _checked_json(path, schema.header)


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
            "few; it is not a run log of gdro, or damaged: move the file away"
        )
    columns = {name: np.full(len(rows), np.nan) for name in names}
    for place, record in enumerate(rows):
        for name, value in record.items():
            if is_number(value):
                columns[name][place] = value
    return columns
