"""Training of arms by paired seeds, for as long as there is time, and what came out of it."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gdro.common.files import write_json
from gdro.recipes.evaluations import LINES, lines_of
from gdro.recipes.run import BASE, evaluate_base, load_task, run
from gdro.recipes.run_folder import KEPT, keep
from gdro.recipes.schema import Recipe, load_recipe
from gdro.tasks.gsm8k import MADE

READY = "ready.json"
RECIPE = "gsm8k_smollm2"
HERE = Path(__file__).resolve()


@dataclasses.dataclass(frozen=True)
class Job:
    """What a sitting trains.

    Attributes:
        overrides: Of the recipe.
        arms: By name, as the recipe has them.
        seeds: Each with every arm before the next one.
        until: Of `time.monotonic`, when to stop.
        needed: Seconds that a run needs at least to be begun.
    """

    overrides: list[str]
    arms: list[str]
    seeds: list[int]
    until: float
    needed: float

    def recipe(self, arm: str, seed: int) -> Recipe:
        """The recipe of one run."""
        recipe = load_recipe(RECIPE, self.overrides)
        return dataclasses.replace(recipe, seed=seed, arms={arm: recipe.arms[arm]})


def start_workers(job: Job, folder: Path, workers: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that wait for the base, then train their shares of the runs; logs go there."""
    write_json(folder / "job.json", dataclasses.asdict(job))
    (folder / READY).unlink(missing_ok=True)
    started = []
    for number in range(workers):
        command = [sys.executable, str(HERE), str(folder), str(number), str(workers)]
        with (folder / f"worker-{number}.log").open("ab") as file:
            started.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT))
    return started


def work(folder: Path, number: int, workers: int) -> None:
    """One process: every `workers`-th run, once the base is there."""
    job = Job(**json.loads((folder / "job.json").read_text()))
    while not (folder / READY).exists():
        if time.monotonic() >= job.until:
            return
        time.sleep(0.2)
    runs = [(seed, arm) for seed in job.seeds for arm in job.arms]
    for seed, arm in runs[number::workers]:
        if time.monotonic() + job.needed >= job.until:
            break
        own = folder / f"seed-{seed}-{arm}"
        own.mkdir(parents=True, exist_ok=True)
        recipe = job.recipe(arm, seed)
        if not (own / KEPT).exists():  # a base without its recipe would be evaluated again
            keep(recipe, own)
        (own / BASE).write_text((folder / BASE).read_text())
        begun = time.monotonic()
        run(recipe, own, resume=True, until=job.until)
        peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else 0.0
        print(f"{arm} seed {seed}: {time.monotonic() - begun:.0f} s, {peak:.1f} GiB", flush=True)
        gc.collect()  # a trainer and its graphs hold each other
        torch.cuda.empty_cache()


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


def newest(lines: Sequence[dict[str, Any]], k: int) -> str:
    """The last evaluation of each run, in a line."""
    last = {(line["seed"], line["arm"]): line for line in lines}
    return "; ".join(
        f"{arm} {seed} at {line['step']}: {line[f'mean@{k}']:.3f} {line[f'pass@{k}']:.3f} "
        f"{line['seconds'] / line['step']:.2f} s"
        for (seed, arm), line in last.items()
    )


def gathered(folder: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """All lines of all runs, with what is the same for the whole sitting."""
    found = sorted(folder.glob(f"seed-*/*/{LINES}"))
    return [{**about, **line} for path in found for line in lines_of(path)]


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write them by renaming into place."""
    partial = path.with_name(f".{path.name}")
    partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.replace(partial, path)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
