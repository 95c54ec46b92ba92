"""A run that is killed again and again until it is through, against one that was left alone."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from chaos.kills import Death, Target, Where, events, run, targets
from gdro.log.run_log import GROUPS, STEPS, RunLog, read_jsonl

RESULT = "result.json"


@dataclass(frozen=True)
class Job:
    """Work that resumes by itself from what stands in its folder.

    Attributes:
        name: For the table.
        work: Takes a folder and where it is; writes `result.json` there at the end.
        check: Reads every checkpoint of a folder; raises for one that is not whole.
        phases: Those with kills of their own.
        entries: Kills are at one of the first so many times that a run enters a phase.
    """

    name: str
    work: Callable[[Path, Where], None]
    check: Callable[[Path], None]
    phases: list[str]
    entries: int


@dataclass
class Tally:
    """What was done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    stories: int = 0

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def watched_log(folder: Path, where: Where) -> RunLog:
    """A run log that says when it is writing, and how much it has written."""
    log = RunLog(folder)
    append = where.watched(log.append, "log")

    def appended(step, groups):
        append(step, list(groups))
        where.logged += 1

    log.append = appended
    return log


def whole_lines(folder: Path, name: str) -> list[str]:
    path = folder / "gdro" / name
    if not path.exists():
        return []
    assert all(isinstance(record, dict) for record in read_jsonl(path))
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def endure(job: Job, folder: Path, kills: int, seed: int, tally: Tally, per_story: int = 6) -> None:
    """Kill a job at least so many times; every run ends as the one that was left alone.

    Args:
        job: The job.
        folder: Where it runs.
        kills: How many kills, at least.
        seed: Of the places.
        tally: Counts them.
        per_story: Most kills of a run.
    """
    rng = random.Random(seed)
    reference = folder / "reference"
    seconds = run(lambda where: job.work(reference, where)).seconds
    lines = {name: whole_lines(reference, name) for name in (STEPS, GROUPS)}
    expected = json.loads((reference / RESULT).read_text())
    counts = events(lambda where: job.work(folder / "counted", where))
    assert json.loads((folder / "counted" / RESULT).read_text()) == expected
    aims = targets(counts, job.phases, job.entries, rng)
    before = tally.total
    while tally.total - before < kills:
        ours = folder / f"story-{tally.stories}"
        tally.stories += 1
        for target, after in islice(_plan(aims, seconds, rng), per_story):
            if _attempt(job, ours, lines, tally, target, after):
                break
        else:
            run(lambda where, ours=ours: job.work(ours, where))
        tally.runs += 1
        assert json.loads((ours / RESULT).read_text()) == expected, f"{ours} ended otherwise"
        for name, kept in lines.items():
            assert whole_lines(ours, name) == kept, f"{ours} has another log"


def _plan(
    aims: Iterator[Target], seconds: float, rng: random.Random
) -> Iterator[tuple[Target | None, float | None]]:
    """Two kills inside a phase, then one at any time."""
    while True:
        yield next(aims), None
        yield next(aims), None
        yield None, rng.uniform(0.0, seconds)


def _attempt(
    job: Job,
    folder: Path,
    lines: dict[str, list[str]],
    tally: Tally,
    target: Target | None,
    after: float | None,
) -> bool:
    """One start of the job; whether it came through. Looks at what a kill left behind."""
    started = len(whole_lines(folder, STEPS))
    death = run(lambda where: job.work(folder, where), target, after)
    if not death.killed:
        return True
    tally.kills[f"{job.name}: {death.phase}"] += 1
    job.check(folder)
    _check_log(folder, lines, death, started)
    return False


def _check_log(folder: Path, lines: dict[str, list[str]], death: Death, started: int) -> None:
    found = {name: whole_lines(folder, name) for name in (STEPS, GROUPS)}
    for name, kept in found.items():
        assert kept == lines[name][: len(kept)], f"{folder}/{name} is no beginning of the whole run's"
    tickets = [json.loads(line)["ticket"] for line in found[STEPS]]
    assert len(set(tickets)) == len(tickets), "a step stands twice"
    groups = Counter(json.loads(line)["ticket"] for line in found[GROUPS])
    assert set(tickets) <= set(groups), "a step without its groups"
    # What append returned from is on record; before that, the log may have been rewound or set aside.
    assert len(tickets) >= death.logged, f"{death.logged} steps were written, {len(tickets)} are there"
    assert len(tickets) <= max(started, len(lines[STEPS]))
