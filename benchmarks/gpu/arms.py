"""Training of arms by paired seeds, for as long as there is time, and what came out of it."""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from state import RECIPE

from gdro.common.files import write_json, write_text
from gdro.errors import GdroError
from gdro.integrations.trl.checkpoints import last_checkpoint
from gdro.recipes.evaluations import LINES, begun, lines_of
from gdro.recipes.run import BASE, EVAL, evaluate_base, load_task, run
from gdro.recipes.run_folder import KEPT, keep
from gdro.recipes.schema import Recipe, load_recipe
from gdro.tasks.gsm8k import MADE

READY, HOW = "ready.json", "calls.json"
WORKER = Path(__file__).resolve().with_name("worker.py")


@dataclasses.dataclass(frozen=True)
class Job:
    """What a sitting trains.

    Attributes:
        overrides: Of the recipe.
        arms: By name, as the recipe has them.
        seeds: Each with every arm before the next one.
        until: Of `time.monotonic`, when to stop.
        needed: Seconds that a run needs at least to be begun.
        call: Name of the sitting's call.
        sharing: How processes share the GPU, in words.
        processes: How many train at once; counted when they are started.
    """

    overrides: list[str]
    arms: list[str]
    seeds: list[int]
    until: float
    needed: float
    call: str
    sharing: str
    processes: int = 0

    @property
    def runs(self) -> list[tuple[int, str]]:
        """Seeds and arms in the order of training."""
        return [(seed, arm) for seed in self.seeds for arm in self.arms]

    def recipe(self, arm: str, seed: int) -> Recipe:
        """The recipe of one run."""
        recipe = load_recipe(RECIPE, self.overrides)
        return dataclasses.replace(recipe, seed=seed, arms={arm: recipe.arms[arm]})


def unfinished(job: Job, folder: Path) -> list[int]:
    """Numbers of the job's runs that are not finished."""
    runs = enumerate(job.runs)
    return [n for n, (seed, arm) in runs if not (folder / f"seed-{seed}-{arm}" / arm / EVAL).exists()]


def emptied(folder: Path) -> Path:
    """A folder for runs, without those of an earlier call.

    Raises:
        GdroError: The folder is not one of runs.
    """
    if folder.exists() and not (folder / "job.json").is_file():
        raise GdroError(f"{folder} was not made by a sitting; move it away, or give another --work")
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def start_workers(job: Job, folder: Path, workers: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that wait for the base, then train their shares of the runs; logs go there.

    Each ends when the pipe at its standard input is closed, so that none outlives this process.
    """
    busy = {number % workers for number in unfinished(job, folder)}
    write_json(folder / "job.json", dataclasses.asdict(dataclasses.replace(job, processes=len(busy))))
    (folder / READY).unlink(missing_ok=True)
    started = []
    for number in range(workers):
        command = [sys.executable, str(WORKER), str(folder), str(number), str(workers)]
        with (folder / f"worker-{number}.log").open("ab") as file:
            piped = {"stdin": subprocess.PIPE, "stdout": file, "stderr": subprocess.STDOUT}
            started.append(subprocess.Popen(command, **piped))
    return started


def stop(started: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """End processes of `start_workers`, and their exit statuses; none is left when it returns."""
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
    return [process.returncode for process in started]


def work(folder: Path, number: int, workers: int) -> None:
    """One process: every `workers`-th run, once the base is there."""
    job = Job(**json.loads((folder / "job.json").read_text()))
    while not (folder / READY).exists():
        if time.monotonic() >= job.until:
            return
        time.sleep(0.2)
    for seed, arm in job.runs[number::workers]:
        if time.monotonic() + job.needed >= job.until:
            break
        own = folder / f"seed-{seed}-{arm}"
        own.mkdir(parents=True, exist_ok=True)
        recipe = job.recipe(arm, seed)
        if not (own / KEPT).exists():  # a base without its recipe would be evaluated again
            keep(recipe, own)
        (own / BASE).write_text((folder / BASE).read_text())
        if not (own / arm / EVAL).exists():
            _record(job, own, arm)
        started = time.monotonic()
        run(recipe, own, resume=True, until=job.until)
        peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0
        print(f"{arm} seed {seed}: {time.monotonic() - started:.0f} s, {peak:.1f} GiB", flush=True)
        gc.collect()  # a trainer and its graphs hold each other
        torch.cuda.empty_cache()


def _record(job: Job, own: Path, arm: str) -> None:
    """Note that lines after those that the run keeps are of this call."""
    begun(own / arm, last_checkpoint(own / arm))  # before the note, or old lines would count as new
    lines = lines_of(own / arm / LINES)
    after = lines[-1]["step"] if lines else 0
    earlier = json.loads((own / HOW).read_text()) if (own / HOW).exists() else []
    this = {"call": job.call, "sharing": job.sharing, "processes": job.processes}
    calls = [call for call in earlier if call["after"] < after]
    write_json(own / HOW, [*calls, {"after": after, **this}])


def measure_base(job: Job, folder: Path) -> dict[str, Any]:
    """Held-out figures of the base, which is made if it is missing; its weights have a name."""
    recipe = job.recipe(job.arms[0], 0)
    place = Path(recipe.task_options["base"]) / MADE
    files = place, folder / BASE
    if all(f.exists() for f in files) and files[0].stat().st_mtime > files[1].stat().st_mtime:
        files[1].unlink()  # the figures of an earlier base
    evaluate_base(recipe, folder, load_task)
    gc.collect()
    torch.cuda.empty_cache()  # the workers need it
    made = json.loads(place.read_text())
    return {**json.loads((folder / BASE).read_text()), "weights": made["weights"]}


def release(folder: Path) -> None:
    """Let the workers begin."""
    write_json(folder / READY, True)


def in_words(line: dict[str, Any], k: int) -> str:
    """An evaluation, in a line."""
    return (
        f"{line['arm']} seed {line['seed']} at step {line['step']}: pass@1 {line[f'mean@{k}']:.3f}, "
        f"pass@{k} {line[f'pass@{k}']:.3f}, {line['seconds'] / line['step']:.2f} s a step"
    )


def gathered(folder: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """All lines of all runs, with what is the same for the whole sitting, and the call of each."""
    lines = []
    for path in sorted(folder.glob(f"seed-*/*/{LINES}")):
        note = path.parents[1] / HOW
        calls = json.loads(note.read_text()) if note.exists() else []
        for line in lines_of(path):
            of = next((call for call in reversed(calls) if call["after"] < line["step"]), {})
            how = {name: of[name] for name in of if name != "after"}
            lines.append({**about, **line, **how})
    return lines


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write them by renaming into place."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
