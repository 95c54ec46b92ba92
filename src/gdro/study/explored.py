"""Confirmation seeds must not have been explored, whichever study explored them."""

from __future__ import annotations

from pathlib import Path

from gdro.errors import StudyError
from gdro.study.config import Study
from gdro.study.runner import RUNS_FILE, jobs, read_runs

EXPLORATION, CONFIRMATION = "exploration", "confirmation"


def refuse_explored(study: Study, output: Path) -> None:
    """Raise a StudyError if a confirmation seed was explored before on the same task.

    A seed fixes the problems of a task, so choosing an arm on it reveals its results. `output` is the
    folder of all studies.
    """
    wanted = jobs(study, explore=False)
    known = {(study.testbeds[job.testbed].task, job.seed) for job in wanted}
    for log in sorted(output.glob(f"*/{EXPLORATION}/{RUNS_FILE}")):
        spent = {run["seed"] for run in read_runs(log) if (run.get("task"), run["seed"]) in known}
        if spent:
            raise StudyError(
                f"study {study.name!r} cannot confirm on seeds {sorted(spent)}: "
                f"{log.parent.parent.name!r} explored them on the same task ({log}), and results on "
                "seeds that were used for choosing overstate the best arm; use fresh ones, e.g. "
                "seeds=300-311"
            )
