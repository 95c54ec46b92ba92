"""Seeds that were explored are no confirmation seeds, whichever study explored them."""

from __future__ import annotations

from pathlib import Path

from gdro.errors import StudyError
from gdro.study.config import Study
from gdro.study.runner import RUNS_FILE, jobs, read_runs

EXPLORATION, CONFIRMATION = "exploration", "confirmation"


def refuse_explored(study: Study, output: Path) -> None:
    """Raise if a seed to be confirmed was explored before on the same task.

    A seed fixes the problems of a task, so that its results are known once an arm was chosen on it.
    Runs of older versions do not name their task; they agree where the testbed has the same name.

    Args:
        study: About to run on its confirmation seeds.
        output: Folder of the studies; every study in it that explored is read.

    Raises:
        StudyError: A seed was explored; names the study that did, the seeds and the fix.
    """
    wanted = jobs(study, explore=False)
    by_task = {(study.testbeds[job.testbed].task, job.seed) for job in wanted}
    by_name = {(job.testbed, job.seed) for job in wanted}
    for log in sorted(output.glob(f"*/{EXPLORATION}/{RUNS_FILE}")):
        spent: set[int] = set()
        for run in read_runs(log):
            place, known = (run["task"], by_task) if "task" in run else (run["testbed"], by_name)
            if (place, run["seed"]) in known:
                spent.add(run["seed"])
        if spent:
            raise StudyError(
                f"study {study.name!r} cannot confirm on seeds {sorted(spent)}: "
                f"{log.parent.parent.name!r} explored them on the same task ({log}), and results on "
                "seeds that were used for choosing overstate the best arm; take fresh ones, e.g. "
                "seeds=300-311"
            )
