"""Run a study: every arm on every testbed and seed, in parallel, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from gdro.common.files import no_link
from gdro.common.processes import safe_children
from gdro.common.schema import Fault, Record, is_count, is_number
from gdro.controller import Controller
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import LogError, StudyError
from gdro.log.run_log import drop_partial_line, read_jsonl
from gdro.study.config import Study, parse_seeds, strategy_of, training_of, warm_start_path
from gdro.study.decoder import load
from gdro.study.engine import run
from gdro.study.testbed import load_testbed
from gdro.study.training import PoolSizes
from gdro.study.variant import Variant
from gdro.study.worlds import StudyTask, World, make_world

RUNS_FILE = "runs.jsonl"


@dataclass(frozen=True)
class Job:
    """One run of a study: an arm, by name, on a testbed, by name, with a paired seed."""

    study: Study
    testbed: str
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """Hash of everything that the numbers depend on, so that only changed runs are repeated."""
        study, arm = self.study, self.study.arms[self.arm]
        bed, strategy = study.testbeds[self.testbed], strategy_of(study, arm)
        start = hashlib.sha256(warm_start_path(bed.warm_start).read_bytes()).hexdigest()
        pool = (bed.task, bed.variant.identity(), start)
        options = (
            training_of(study, arm).identity(),
            asdict(study.sizes),
            study.difficulty | arm.difficulty,
        )
        parts = (*pool, *options, strategy.name, strategy.config(), self.seed)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def jobs(study: Study, explore: bool) -> list[Job]:
    """All runs of a study, seed by seed, so that an interrupted study is still paired."""
    wanted = parse_seeds(study.exploration_seeds if explore else study.seeds)

    def takes(part: Any, seed: int) -> bool:
        return explore or part.seeds is None or seed in parse_seeds(part.seeds)

    return [
        Job(study, bed_name, arm_name, seed)
        for seed in wanted
        for bed_name, bed in study.testbeds.items()
        if takes(bed, seed)
        for arm_name, arm in study.arms.items()
        if takes(arm, seed) and (arm.groups is None or bed.group in arm.groups)
    ]


def run_job(job: Job) -> dict[str, Any]:
    """Run one job on one thread; returns its record for the study's log."""
    torch.set_num_threads(1)
    study, arm, bed = job.study, job.study.arms[job.arm], job.study.testbeds[job.testbed]
    training = training_of(study, arm)
    # With `once`, the pool has exactly as many problems as the run is offered.
    offered = training.num_steps * training.batch if bed.variant.once else study.sizes.train
    parts = (json.dumps(asdict(part), sort_keys=True) for part in (bed, study.sizes))
    world = _world(*parts, job.seed, offered)
    difficulty = difficulty_of({**study.difficulty, **arm.difficulty})
    strategy = strategy_of(study, arm)
    controller = Controller(strategy, world.problem, seed=job.seed, difficulty=difficulty)
    result = run(world, training, load(warm_start_path(bed.warm_start)), controller, job.seed)
    labels = {"key": job.key, "testbed": job.testbed, "task": bed.task, "arm": job.arm, "seed": job.seed}
    return {**labels, **result}


@lru_cache(maxsize=2)
def _world(bed: str, sizes: str, seed: int, num_train: int) -> World:
    """The world of a testbed and sizes, both as JSON; cached, because all arms of a seed share it."""
    given = json.loads(bed)
    variant, pool_sizes = Variant(**given["variant"]), PoolSizes(**json.loads(sizes))
    task = StudyTask(load_testbed(given["task"]), variant, pool_sizes)
    return make_world(task, load(warm_start_path(given["warm_start"])), seed, num_train)


def run_study(
    study: Study, folder: Path, explore: bool, workers: int, progress: Callable[..., Any]
) -> list[dict[str, Any]]:
    """Run the jobs whose results are not in the folder yet.

    Args:
        study: The study.
        folder: Folder of the log; exploration and confirmation need one each.
        explore: Run the exploration seeds instead of the confirmation seeds.
        workers: Number of processes.
        progress: Wraps an iterator of finished runs, e.g. `tqdm`; called with `total` and `initial`.

    Returns:
        Records of all runs of the study, in the order of its jobs.

    Raises:
        StudyError: A record in the log cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / RUNS_FILE
    wanted = {(job.key, job.testbed, job.arm): job for job in jobs(study, explore)}
    records = {_identity(r): r for r in read_runs(log)}
    drop_partial_line(log)
    todo = [job for identity, job in wanted.items() if identity not in records]
    finished = _finished(todo, workers)
    with open(log, "a", opener=no_link) as file:
        for record in progress(finished, total=len(wanted), initial=len(wanted) - len(todo)):
            # One whole line per write: a kill truncates at most the last line, which is then ignored.
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
            records[_identity(record)] = record
    return [records[identity] for identity in wanted]


def read_runs(log: Path) -> list[dict[str, Any]]:
    """Finished runs in a study's log, without a truncated last line; a StudyError names bad lines."""
    try:
        return list(read_jsonl(log, _check_run)) if log.exists() else []
    except LogError as error:
        raise StudyError(f"{log} holds lines that are not runs of a study: {error}") from error


def _check_run(run: Record) -> None:
    for name in ("key", "testbed", "arm"):
        if not isinstance(run.get(name), str):
            raise Fault(f"has no text as {name!r}")
    if not is_count(run.get("seed")):
        raise Fault("has no whole number as 'seed'")
    if not isinstance(run.get("task", ""), str):
        raise Fault("has no text as 'task'")
    for name in _NUMBERS:
        if name in run and not (run[name] is None or is_number(run[name])):
            raise Fault(f"has {name!r} = {run[name]!r:.60}; it must be a number")


_NUMBERS = ("pass8", "mean8", "rollouts", "tokens", "trained", "discarded", "recalled", "tail_share")


def _identity(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["key"], record["testbed"], record["arm"]


def _end_with_parent() -> None:
    """End this worker when its parent dies, so that a killed study leaves no workers running."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _finished(todo: list[Job], workers: int) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(todo) < 2:
        yield from map(run_job, todo)
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    spawn = get_context("spawn")
    make = partial(ProcessPoolExecutor, workers, mp_context=spawn, initializer=_end_with_parent)
    with safe_children(), make() as pool:
        futures = [pool.submit(run_job, job) for job in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
