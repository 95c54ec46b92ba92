"""A worker: judges items in a forked child, which it kills when one of them takes too long.

Run as `python -m gdro.rewards.worker KIND MEMORY_MB PARENT`; items come in by standard input.
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

# By the clock, times what an item may take of the processor and seconds more, on a machine that is busy.
_WALL, _WALL_S = 10, 1.0
_FORKS = 4  # tries, with growing pauses, before a machine that has no process to spare is said to be so


def verdicts_of(items: Sequence[Item], judge: Judge, timeout_s: float, memory: int) -> list[int]:
    """Judge items in a child, up to the first that has to be killed.

    Args:
        items: (gold, answer) each.
        judge: From a gold and an answer to a score from 0 to 1.
        timeout_s: Most seconds of the processor for one item. One that takes ten times as long and a
            second by the clock without using them has `CRASHED`.
        memory: Most bytes of address space that the child may add to its own.

    Returns:
        A verdict for each item, fewer than given if the last is `TOO_SLOW`, `CRASHED` or `UNFORKED`.
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
    """`os.fork`, tried again for a second; None if the machine still has no process or memory for it."""
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
    """Wait for a child's next word: 0 when it is there, else why there will be none."""
    clock = (~child << 3) | 2  # as the kernel numbers the processor's time of another process
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
            left = 0.01  # no storm of short waits
    return TOO_SLOW


def _child(items: Sequence[Item], judge: Judge, there: int, memory: int) -> None:
    """Judge each item and write a byte for it; never returns."""
    try:
        _confine(memory)
        for gold, answer in items:
            os.write(there, bytes([round(100.0 * min(max(judge(gold, answer), 0.0), 1.0))]))
    finally:  # what gets here is a crash, which the parent sees by the bytes that are missing
        os._exit(0)


def _confine(memory: int) -> None:
    """From here on: no new file, no socket, no process, no code from text, bounded memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


_REFUSED = ("socket.", "subprocess.", "os.", "shutil.", "ctypes.", "pty.", "urllib.", "webbrowser.",
            "http.", "ftplib.", "smtplib.", "tempfile.", "pickle.")  # fmt: skip
_HARMLESS = ("os.listdir", "os.scandir")  # the import system looks for modules
_LIBRARY = tuple({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, os.path.dirname(__file__))})


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: a late import may read the library; nothing else touches the machine."""
    if event == "open":
        path, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes or not os.path.realpath(os.fsdecode(path)).startswith(_LIBRARY):
            raise PermissionError(f"a worker may not open {path!r}")
    elif event == "exec":
        name = getattr(arguments[0], "co_filename", "")
        if not name.startswith("<frozen") and not os.path.realpath(name).startswith(_LIBRARY):
            raise PermissionError("a worker may not run code that came as text")
    elif event.startswith(_REFUSED) and event not in _HARMLESS:
        raise PermissionError(f"a worker may not: {event}")


def _end_with(parent: int) -> None:
    """Look every second whether the parent still is; end with what was forked when it is not.

    The end of standard input does not tell: whatever the parent forked holds the other side too. The
    signal is for this process, not for the parent, and children of this process get no timer.
    """

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os.killpg(0, signal.SIGKILL)  # the session is this worker's own

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)


def main(channel: tuple[IO[bytes], IO[bytes]], kind: str, memory_mb: int) -> None:
    """Serve until the other side closes.

    Args:
        channel: Where items come from, where verdicts go.
        kind: Of the items.
        memory_mb: Most megabytes of a child.
    """
    logging.disable()  # math-verify warns of every text that it cannot read
    judge = judge_of(kind)
    gc.freeze()
    coming, going = channel
    send(going, "ready")
    while (given := receive(coming)) is not None:
        # The number goes back with the verdicts, so that they are for these items.
        number, timeout_s, items = given
        before = _used()
        verdicts = verdicts_of(items, judge, timeout_s, memory_mb << 20)
        send(going, [number, verdicts, _used() - before])


def _used() -> float:
    """Seconds of the processor that this process used, and those that it forked and that have ended."""
    forked = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + forked.ru_utime + forked.ru_stime


if __name__ == "__main__":
    # Whatever a library prints must not get between the messages.
    ours = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    _end_with(int(sys.argv[3]))
    main(ours, sys.argv[1], int(sys.argv[2]))
