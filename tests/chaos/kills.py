"""Kill a forked process with SIGKILL, at a random time or inside a phase, and see where it died."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PHASES = (
    "start",
    "plan",
    "extend",
    "generate",
    "weigh",
    "observe",
    "log",
    "checkpoint",
    "files",
    "train",
)


@dataclass(frozen=True)
class Target:
    """Die inside the `entry`-th time of a phase, at its `event`-th call of a function."""

    phase: str
    entry: int
    event: int


class Where:
    """Where a process is, in memory that outlives it: its phase, and the steps that its log holds.

    Args:
        target: Where it kills itself; None: nowhere, and the calls of each phase are counted.
    """

    def __init__(self, target: Target | None = None) -> None:
        self._shared = mmap.mmap(-1, 64)
        self._target = target
        self._entries = dict.fromkeys(PHASES, 0)
        self._counts: dict[str, list[int]] = {name: [] for name in PHASES}

    @property
    def phase(self) -> str:
        return PHASES[self._shared[0]]

    @property
    def logged(self) -> int:
        return struct.unpack_from("q", self._shared, 8)[0]

    @logged.setter
    def logged(self, steps: int) -> None:
        struct.pack_into("q", self._shared, 8, steps)

    @property
    def events(self) -> dict[str, int]:
        """Calls of a function in the middle one of the entries of each phase; the first may import."""
        return {name: sorted(found)[len(found) // 2] for name, found in self._counts.items() if found}

    @contextmanager
    def inside(self, phase: str) -> Iterator[None]:
        outer, self._shared[0] = self._shared[0], PHASES.index(phase)
        self._entries[phase] += 1
        target = self._target
        armed = target is not None and (target.phase, target.entry) == (phase, self._entries[phase])
        if armed or target is None:
            self._counts[phase].append(0)
            sys.setprofile(self._countdown(self._counts[phase], target.event if armed else None))
        try:
            yield
        finally:
            if armed or target is None:
                sys.setprofile(None)
            self._shared[0] = outer

    def watched(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.inside(phase):
                return function(*args, **kwargs)

        return call

    def _countdown(self, counts: list[int], event: int | None) -> Callable[..., None]:
        def profile(*_: Any) -> None:
            counts[-1] += 1
            if counts[-1] == event:
                os.kill(os.getpid(), signal.SIGKILL)

        return profile


Work = Callable[[Where], None]


@dataclass(frozen=True)
class Death:
    """How a process ended: killed or not, and what its shared memory says."""

    killed: bool
    phase: str
    logged: int
    seconds: float


def run(work: Work, target: Target | None = None, after: float | None = None) -> Death:
    """Run work in a forked process.

    Args:
        work: What it does.
        target: Where it kills itself.
        after: Seconds after which it is killed from outside.

    Returns:
        How it ended; anything but success and SIGKILL is an error.
    """
    where, start = Where(target or Target("start", -1, -1)), time.monotonic()
    pid = _forked(lambda: work(where))
    if after is not None:
        while time.monotonic() - start < after:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return Death(False, where.phase, where.logged, time.monotonic() - start)
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the process ended with {status} in phase {where.phase}"
    return Death(status != 0, where.phase, where.logged, time.monotonic() - start)


def events(work: Work) -> dict[str, int]:
    """Usual number of calls of a function inside an entry of each phase, counted in a whole run."""
    read, write = os.pipe()

    def counted() -> None:
        where = Where()
        work(where)
        os.write(write, repr(where.events).encode())

    pid = _forked(counted)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return {name: int(count) for name, count in _pairs(found)}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for item in text.strip("{}").split(", "):
        name, count = item.split(": ")
        yield name.strip("'"), count


def _forked(act: Callable[[], None]) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        errors = os.dup(2)
        os.dup2(null, 2)  # trainers talk a lot
        try:
            act()
            code = 0
        except BaseException:
            os.write(errors, traceback.format_exc().encode())
        finally:
            os._exit(code)
    return pid


def targets(
    counts: dict[str, int], phases: list[str], entries: int, rng: random.Random
) -> Iterator[Target]:
    """Random places of these phases, in turn, without end."""
    while True:
        for phase in phases:
            yield Target(phase, rng.randint(1, entries), rng.randint(1, max(counts[phase], 1)))
