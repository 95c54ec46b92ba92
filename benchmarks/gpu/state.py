"""A sitting: what it does, where, and what it has measured so far."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.common.files import read_json, write_json
from gdro.errors import GdroError

RECIPE = "gsm8k_smollm2"
START = time.monotonic()
RESERVE = 20.0
"""Seconds of the budget that are kept for collecting."""
SPEED = "speed.json"


class Idle(Exception):
    """A phase measured nothing; says why."""


class WorkerError(GdroError):
    """Processes that train have failed."""


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"[{time.monotonic() - START:6.1f}] {text}", flush=True)


@dataclasses.dataclass
class Sitting:
    """What a sitting does, and where.

    Attributes:
        work: Folder that outlives a call: model, base, runs.
        out: Folder of what comes back.
        tiny: A miniature for a CPU.
        until: Of `time.monotonic`.
        arms: Of the recipe.
        seeds: Of the runs.
        workers: Processes that train side by side.
        overrides: Of the recipe.
        needed: Seconds that a run needs at least to be begun.
        call: Name of this call, the time at which it began.
        gguf: The model's file, None: a random model of its shape.
        sharing: How processes share the GPU, in words.
        speed: What was measured so far, in this call and in earlier ones with the same `out`.
    """

    work: Path
    out: Path
    tiny: bool
    until: float
    arms: list[str]
    seeds: list[int]
    workers: int
    overrides: list[str]
    needed: float
    call: str
    gguf: Path | None = None
    sharing: str = "processes take turns"
    speed: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Go on with what an earlier call measured."""
        if (self.out / SPEED).exists():
            self.speed |= read_json(self.out / SPEED)

    def begin(self, phases: Sequence[str], sharing: str) -> None:
        """Record this call, with how processes share the GPU in it."""
        self.sharing = sharing
        this = {"call": self.call, "sharing": sharing, "processes": self.workers}
        more = {"phases": list(phases), "arms": self.arms, "seeds": self.seeds}
        self.speed["calls"] = [*self.speed.get("calls", []), {**this, **more}]
        write_json(self.out / SPEED, self.speed)

    def keep(self, processes: int = 1, **figures: Any) -> None:
        """Add to `speed.json`, under `measured` with the call, the sharing and the processes of it.

        A figure that is there already with the same value was read again, and stays of its call.
        """
        figures = {name: value for name, value in figures.items() if self.speed.get(name) != value}
        how = {"call": self.call, "sharing": self.sharing, "processes": processes}
        measured = self.speed.get("measured", {}) | dict.fromkeys(figures, how)
        self.speed |= {**figures, "measured": measured}
        write_json(self.out / SPEED, self.speed)

    def job(self, seeds: list[int], base: Path, extra: Sequence[str] = ()) -> Any:
        """What workers do, on a base."""
        from arms import Job
        from mini import TINY

        files = [f"task_options.files.{name}={self.work / name}.jsonl" for name in ("train", "test")]
        real = base == self.base
        model = self.gguf if self.gguf and real else self.work / "random"
        given = [
            *files,
            f"task_options.base={base}",
            f"task_options.model={model}",
            "trl.save_strategy='no'",
            "trl.disable_tqdm=true",
        ]
        given += [] if real else ["task_options.lesson.steps=1"]
        small = TINY if self.tiny else []
        overrides = [*small, *given, *self.overrides, *extra]
        how = {"call": self.call, "sharing": self.sharing}
        return Job(overrides, self.arms, seeds, self.until, self.needed, **how)

    @property
    def base(self) -> Path:
        """Folder of the taught base."""
        return self.work / "base"
