"""A worker: grades items in a forked child, which it kills when an item takes too long.

Run as `python -m gdro.rewards.worker KIND MEMORY_MB PARENT`; it reads items from standard input.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gdro.rewards.judges import Judge, judge_of
from gdro.rewards.wire import CRASHED, TOO_SLOW, UNFORKED, Item, late, receive, send

# Wall-clock limit of an item on a busy machine: so many times its CPU time limit, plus seconds.
_WALL, _WALL_S = 10, 1.0
_FORKS = 4  # attempts to fork, with growing pauses


def verdicts_of(items: Sequence[Item], judge: Judge, timeout_s: float, memory: int) -> list[int]:
    """Grade (gold, answer) pairs in a child, up to the first item for which it has to be killed.

    Args:
        items: The pairs.
        judge: Gives a score from 0 to 1 to a gold and an answer.
        timeout_s: Most CPU seconds per item. An item that takes ten times as long plus a second by the
            clock, without using them, has `CRASHED`.
        memory: Most bytes of address space that the child may add to its own.

    Returns:
        Verdicts of the first items; if there are fewer than items, the last one is `TOO_SLOW`,
        `CRASHED` or `UNFORKED`.
    """
    here, there = os.pipe()
    child = _forked()
    if child is None:
        os.close(here)
        os.close(there)
        return [UNFORKED]
    if not child:
        os.close(here)
        _child(items, judge, there, memory)
    os.close(there)
    verdicts: list[int] = []
    while len(verdicts) < len(items):
        trouble = _trouble(here, child, timeout_s)
        got = b"" if trouble else os.read(here, 4096)
        if not got:
            verdicts.append(trouble or CRASHED)
            break
        verdicts.extend(got)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(here)
    return verdicts


def _forked() -> int | None:
    """`os.fork`, retried for about a second; None if there is still no process or memory for it."""
    for attempt in range(_FORKS):
        try:
            return os.fork()
        except OSError as problem:
            if attempt == _FORKS - 1:
                print(f"gdro: no process to judge an answer in: {problem}", file=sys.stderr)
            else:
                time.sleep(0.1 * 3**attempt)
    return None


def _trouble(here: int, child: int, timeout_s: float) -> int:
    """Wait for a child's next verdict: 0 when it is there, else the reason why there is none."""
    clock = (~child << 3) | 2  # the kernel's id of another process's CPU clock
    start, until = time.clock_gettime(clock), time.monotonic() + _WALL * timeout_s + _WALL_S
    left = timeout_s
    while left > 0:
        now = time.monotonic()
        if now > until:
            return CRASHED
        if select.select([here], [], [], left)[0]:
            return 0
        until += late(now, left)
        left = timeout_s - (time.clock_gettime(clock) - start)
        if 0 < left < 0.01:
            left = 0.01  # avoids many short waits
    return TOO_SLOW


def _child(items: Sequence[Item], judge: Judge, there: int, memory: int) -> None:
    """Grade each item and write a byte for it; never returns."""
    try:
        _confine(memory)
        for gold, answer in items:
            os.write(there, bytes([round(100.0 * min(max(judge(gold, answer), 0.0), 1.0))]))
    finally:  # after an exception, the parent notices the missing bytes
        os._exit(0)


def _confine(memory: int) -> None:
    """From here on: no new files, sockets or processes, no code from text, limited memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


_MODULES = "socket subprocess os shutil ctypes pty urllib webbrowser http ftplib smtplib tempfile pickle"
_REFUSED = tuple(f"{module}." for module in _MODULES.split())
_HARMLESS = ("os.listdir", "os.scandir")  # used by the import system
_LIBRARY = tuple({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, os.path.dirname(__file__))})


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: late imports may read the library; nothing else may touch the machine."""
    if event == "open":
        path, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or not os.path.realpath(os.fsdecode(path)).startswith(_LIBRARY):
            raise PermissionError(f"a worker may not open {path!r}")
    elif event == "exec":
        name = getattr(arguments[0], "co_filename", "")
        if not name.startswith("<frozen") and not os.path.realpath(name).startswith(_LIBRARY):
            raise PermissionError("a worker may not run code from text")
    elif event.startswith(_REFUSED) and event not in _HARMLESS:
        raise PermissionError(f"a worker may not: {event}")


def _end_with(parent: int) -> None:
    """Check every second whether the parent is alive; if not, end this process and its children.

    The end of standard input is no sign of that, since forks of the parent hold the pipe open too. The
    timer signals only this process, and its children do not inherit it.
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)  # the session is this worker's own

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)


def main(channel: tuple[IO[bytes], IO[bytes]], kind: str, memory_mb: int) -> None:
    """Serve until the other side closes; the streams are of items in and verdicts out."""
    logging.disable()  # math-verify warns about every text that it cannot parse
    judge = judge_of(kind)
    gc.freeze()
    coming, going = channel
    send(going, "ready")
    while (given := receive(coming)) is not None:
        # The number is sent back, so that the verdicts are matched to these items.
        number, timeout_s, items = given
        before = _used()
        verdicts = verdicts_of(items, judge, timeout_s, memory_mb << 20)
        send(going, [number, verdicts, _used() - before])


def _used() -> float:
    """CPU seconds used by this process and its children that have ended."""
    forked = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + forked.ru_utime + forked.ru_stime


if __name__ == "__main__":
    # A library's prints must not get between the messages.
    ours = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    _end_with(int(sys.argv[3]))
    main(ours, sys.argv[1], int(sys.argv[2]))
