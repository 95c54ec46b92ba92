"""Phases that train arms: the timed steps on a random base, and the runs on the taught one."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from state import Idle, Sitting, WorkerError, say


def steps(sitting: Sitting) -> None:
    """A few steps and evaluations of the random base, made anew: one process, then all side by side."""
    import arms
    from phases import random_base

    folder, few = random_base(sitting), 4 if sitting.tiny else 10
    extra = [f"trl.max_steps={few}", f"evaluation.every={few // 2}"]
    if not sitting.tiny:
        extra += ["evaluation.base_samples=8", "evaluation.samples=8", "evaluation.also=[4]"]
    before: list[Any] = []
    for workers in sorted({1, sitting.workers}):
        job = dataclasses.replace(sitting.job(list(range(workers)), folder, extra), needed=0.0)
        job = dataclasses.replace(job, arms=job.arms[:1])
        place = arms.emptied(sitting.work / f"steps-{workers}")
        lines = train(sitting, job, place, workers, suffix=f", {workers} at once", before=before)
        before += lines
        times = {line["seed"]: line["curves"]["step_time"] for line in lines if line["step"] == few}
        if not times:
            raise Idle(
                f"the time of --budget was over before step {few} of {workers} at once; give more"
            )
        sitting.keep(workers, **{f"seconds of the last steps, {workers} at once": times})
        say(f"seconds of the last steps, {workers} at once: {times}")


def train(
    sitting: Sitting,
    job: Any,
    folder: Path,
    workers: int,
    started: list[subprocess.Popen[bytes]] | None = None,
    *,
    suffix: str = "",
    before: Sequence[Any] = (),
) -> list[Any]:
    """Measure the base, let the workers train, and write what they reach, also when it is ended.

    Args:
        sitting: The sitting.
        job: What to train.
        folder: Of the runs.
        workers: Processes.
        started: They, if they were started before.
        suffix: Added to the arms' names in lines and tables.
        before: Lines that stand before these in the same file.

    Returns:
        The lines of all runs of the folder, those of earlier calls too.

    Raises:
        Idle: This call added no evaluation.
        WorkerError: A process failed; says what it said.
    """
    import arms
    import speed

    started = started or arms.start_workers(job, folder, workers)
    try:
        base = arms.measure_base(job, folder)
        k = _report_base(sitting, folder, base)
        device = "CPU, a miniature" if sitting.tiny else speed.device_name()
        about = {"device": device, "base": base["weights"]}
        collected = _Collected(sitting, folder, about, suffix, list(before), k)
        arms.release(folder)
        try:
            collected.watch(started)
        finally:
            codes = arms.stop(started)
            collected.write()
    finally:
        arms.stop(started)
    collected.report(codes)
    if not collected.added:
        raise Idle(_why_idle(job, folder))
    return collected.lines


def _report_base(sitting: Sitting, folder: Path, base: dict[str, Any]) -> int:
    """Say and keep the base's figures; returns the headline's k."""
    from records import k_of

    k = k_of(base)
    say(
        f"the base solves {base[f'mean@{k}']:.3f} at one try, {base[f'pass@{k}']:.3f} in {k}; "
        f"{[(s['name'], s['num_prompts']) for s in base['slices']]}"
    )
    figures = {name: base[name] for name in base if name != "rate_N"}
    sitting.keep(**{f"base of {folder.name}": figures})
    return k


def _why_idle(job: Any, folder: Path) -> str:
    import arms

    left, every = len(arms.unfinished(job, folder)), job.recipe(job.arms[0], 0).evaluation.every
    if not left:
        num = len(job.seeds) * len(job.arms)
        return f"all {num} runs were finished by earlier calls; give further --seeds, or another --work"
    return (
        f"the time of --budget was over before the first evaluation ({left} runs are left, which are "
        f"evaluated every {every} steps); give more"
    )


@dataclasses.dataclass
class _Collected:
    """What the workers reach, while they run and at the end."""

    sitting: Sitting
    folder: Path
    about: dict[str, Any]
    suffix: str
    before: list[Any]
    k: int
    lines: list[Any] = dataclasses.field(default_factory=list)

    @property
    def added(self) -> list[Any]:
        """Lines of this call."""
        return [line for line in self.lines if line.get("call") == self.sitting.call]

    @property
    def _kept(self) -> Path:
        return self.sitting.out / ("sitting" if self.folder.name == "train" else "steps")

    def watch(self, started: Sequence[subprocess.Popen[bytes]]) -> None:
        """Write lines as they come, and say each once, until all processes end or time is over."""
        import arms

        said: set[tuple[str, int, int]] = set()
        while any(one.poll() is None for one in started) and time.monotonic() < self.sitting.until + 20:
            time.sleep(1)
            self._gather()
            new = [line for line in self.added if _place(line) not in said]
            if new:
                arms.write_lines(self._kept.with_suffix(".jsonl"), [*self.before, *self.lines])
            for line in new:
                said.add(_place(line))
                say(arms.in_words(line, self.k))

    def write(self) -> None:
        """Write lines and table; nothing if there is no line."""
        import arms
        import table

        self._gather()
        every = [*self.before, *self.lines]
        if not every:
            return
        arms.write_lines(self._kept.with_suffix(".jsonl"), every)
        shown = table.evaluations(every, self.k, paired=not self.suffix)
        self._kept.with_suffix(".md").write_text(shown + "\n")
        print(shown, flush=True)
        if not self.added:
            return
        last = {(line["seed"], line["arm"]): line for line in self.lines}
        runs = [
            {name: line.get(name) for name in ("arm", "seed", "step", "call", "sharing", "processes")}
            | {"seconds_a_step": line["seconds"] / line["step"]}
            for line in last.values()
        ]
        processes = max(line["processes"] for line in self.added)
        self.sitting.keep(processes, **{f"runs of {self.folder.name}": runs})

    def report(self, codes: Sequence[int]) -> None:
        """Raise a WorkerError with the ends of the logs if a process failed."""
        if all(code in (0, -signal.SIGTERM) for code in codes):
            return
        ends = [
            f"{log.name}: {log.read_text(errors='replace')[-2000:].strip()}"
            for log in (self.folder / f"worker-{number}.log" for number in range(len(codes)))
        ]
        raise WorkerError("\n".join((f"processes of {self.folder.name} ended with {codes}", *ends)))

    def _gather(self) -> None:
        import arms

        lines = arms.gathered(self.folder, self.about)
        self.lines = [{**line, "arm": line["arm"] + self.suffix} for line in lines]


def _place(line: Any) -> tuple[str, int, int]:
    return line["arm"], line["seed"], line["step"]
