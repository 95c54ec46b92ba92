"""A worker: judges items in a forked child, which it kills when one of them takes too long.

Run as `python -m gdro.rewards.worker KIND TIMEOUT_S MEMORY_MB`; items come in by standard input.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gdro.rewards.judges import Judge, judge_of
from gdro.rewards.wire import CRASHED, TOO_SLOW, Item, receive, send


def verdicts_of(items: Sequence[Item], judge: Judge, timeout_s: float, memory: int) -> list[int]:
    """Judge items in a child, up to the first that has to be killed.

    Args:
        items: (gold, answer) each.
        judge: From a gold and an answer to a score from 0 to 1.
        timeout_s: Most seconds for one item.
        memory: Most bytes of address space that the child may add to its own.

    Returns:
        A verdict for each item, fewer than given if the last is `TOO_SLOW` or `CRASHED`.
    """
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.close(here)
        _child(items, judge, there, memory)
    os.close(there)
    verdicts: list[int] = []
    while len(verdicts) < len(items):
        ready, _, _ = select.select([here], [], [], timeout_s)
        got = os.read(here, 4096) if ready else b""
        if not got:
            verdicts.append(CRASHED if ready else TOO_SLOW)
            break
        verdicts.extend(got)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(here)
    return verdicts


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


def main(channel: tuple[IO[bytes], IO[bytes]], kind: str, timeout_s: float, memory_mb: int) -> None:
    """Serve until the other side closes.

    Args:
        channel: Where items come from, where verdicts go.
        kind: Of the items.
        timeout_s: Most seconds for one item.
        memory_mb: Most megabytes of a child.
    """
    logging.disable()  # math-verify warns of every text that it cannot read
    judge = judge_of(kind)
    gc.freeze()
    coming, going = channel
    send(going, "ready")
    while (given := receive(coming)) is not None:
        number, items = given  # the number goes back with the verdicts, so that they are for these items
        send(going, [number, verdicts_of(items, judge, timeout_s, memory_mb << 20)])


if __name__ == "__main__":
    # Whatever a library prints must not get between the messages.
    ours = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    main(ours, sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
