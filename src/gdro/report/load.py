"""Read run logs into arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdro.errors import GdroError
from gdro.runlog import STEPS, read_jsonl
from gdro.types import FloatArray


class ReportError(GdroError):
    """A folder holds no run log that could be drawn."""


@dataclass(frozen=True)
class Run:
    """One run's log; S steps, C = 1 + B columns of which the first is the unseen prompts.

    Attributes:
        name: Name of the arm or folder.
        bins: `prompts`, `rollouts`, `weight`, `pass_rate` by step and bin, each (S, C), NaN where a
            bin was absent.
        metrics: Scalars by name, each (S,), NaN where missing.
        ledger: Cumulative counts by name, each (S,).
        evaluation: Held-out evaluation, if there is one.
    """

    name: str
    bins: dict[str, FloatArray]
    metrics: dict[str, FloatArray]
    ledger: dict[str, FloatArray]
    evaluation: dict[str, Any] | None

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.bins["prompts"])


def load_runs(directories: Sequence[Path]) -> tuple[list[Run], dict[str, Any] | None]:
    """Read runs: a folder is a run log itself, or holds one in `gdro/`, or one an arm.

    Args:
        directories: Folders.

    Returns:
        The runs, and the summary where the first folder has one.

    Raises:
        ReportError: A folder holds no run log, or an empty one.
    """
    runs = [run for directory in directories for run in _runs(Path(directory))]
    path = Path(directories[0]) / "summary.json"
    return runs, json.loads(path.read_text()) if path.exists() else None


def _runs(directory: Path) -> list[Run]:
    for log in (directory, directory / "gdro"):
        if (log / STEPS).exists():
            name = directory.parent.name if directory.name == "gdro" else directory.name
            return [_run(name, log, directory)]
    arms = sorted((p.parent.parent for p in directory.glob(f"*/gdro/{STEPS}")), key=_order)
    if not arms:
        raise ReportError(
            f"{directory} has no {STEPS}, gdro/{STEPS} or */gdro/{STEPS}; pass a trainer's output_dir "
            "or the folder of `gdro train`"
        )
    return [_run(arm.name, arm / "gdro", arm) for arm in arms]


def _order(arm: Path) -> tuple[bool, str]:
    return arm.name not in ("grpo", "uniform"), arm.name  # the baseline first


def _run(name: str, log: Path, folder: Path) -> Run:
    steps = list(read_jsonl(log / STEPS))
    if not steps:
        raise ReportError(f"{log / STEPS} is empty; train at least one step")
    evaluation = folder / "eval.json"
    return Run(
        name,
        bins={k: _column([s["bins"][k] for s in steps]) for k in steps[0]["bins"]},
        metrics=_scalars([s["metrics"] for s in steps]),
        ledger=_scalars([s["ledger"] for s in steps]),
        evaluation=json.loads(evaluation.read_text()) if evaluation.exists() else None,
    )


def _column(rows: list[list[float | None]]) -> FloatArray:
    return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)


def _scalars(records: list[dict[str, float]]) -> dict[str, FloatArray]:
    names = dict.fromkeys(name for record in records for name in record)
    return {n: np.array([r.get(n, np.nan) for r in records], np.float64) for n in names}
