"""One writer at a time for a folder, across processes."""

from __future__ import annotations

import errno
import json
import os
import platform
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

from gdro.common.files import no_link
from gdro.errors import LogError

LOCK = ".lock"
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class FolderLock:
    """A lock that ends with its process, however that ends (flock on a file in the folder).

    A second object in the same process is no second run (a notebook that makes its trainer anew): it
    goes on, and takes the lock once the first has let go.

    Args:
        folder: It must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._let_go: weakref.finalize[Any, Any] | None = None
        self._warned = False

    def hold(self) -> None:
        """Take the lock, or check that it is still ours.

        Raises:
            LogError: Another process holds it, or the folder was deleted or replaced since.
            OSError: The lock's file cannot be written.
        """
        if self._let_go is None or self._pid != os.getpid():  # a forked child is another process
            self._take()
        elif not self._same(self._descriptor):
            raise LogError(
                f"{self._path.parent} was deleted or replaced while this run was writing there; what it "
                "held is lost. Restore the folder and resume from the last checkpoint, or start anew"
            )

    def release(self) -> None:
        """Let another process write; `hold` takes the lock again."""
        if self._let_go is not None and self._pid == os.getpid():
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child has the descriptor still
            self._let_go()
            self._let_go = None

    def _take(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows has none
            return
        descriptor = no_link(str(self._path), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            if error.errno in _WITHOUT:
                self._warn(error)
            elif error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            else:
                self._check_holder(holder)
            return
        self._descriptor, self._pid = descriptor, os.getpid()
        self._let_go = weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({**_here(), "since": time.strftime("%F %T")}).encode(), 0)

    def _same(self, descriptor: int) -> bool:
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    def _check_holder(self, text: bytes) -> None:
        """Raise unless the holder is this process, or is gone and has left forked children behind."""
        try:
            holder: Any = json.loads(text)
            pid, host, since = int(holder["pid"]), str(holder["host"])[:80], str(holder["since"])[:40]
        except (ValueError, TypeError, KeyError, RecursionError):
            who = "another process"
        else:
            here = {**_here(), "pid": pid}
            if here == {key: holder.get(key) for key in here} and (pid == os.getpid() or _gone(pid)):
                return
            who = f"process {pid} on {host!r} (since {since!r})"
        raise LogError(
            f"{who} writes the run log in {self._path.parent}; two runs would mix their steps there. "
            "Choose another output folder, or end that run first"
        )

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._path.parent} cannot be locked ({error.strerror}); make sure that no other run "
                "writes its log there", stacklevel=4,
            )  # fmt: skip


def _here() -> dict[str, Any]:
    """This process, by what a number of a process means only beside: host, and container."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        space = ""
    return {"pid": os.getpid(), "host": platform.node()[:80], "space": space}


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
