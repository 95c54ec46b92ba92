"""A lock that allows one writer at a time to a folder, across processes."""

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
    """A flock on a file in an existing folder; it ends with its process for whatever reason.

    A second object in the same process (a notebook that creates its trainer again) may write too, and
    takes the lock once the first has released it.
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
                f"{self._path.parent} was deleted or replaced while this run was writing there; its "
                "files are lost. Restore the folder and resume from the last checkpoint, or start again"
            )

    def release(self) -> None:
        """Allow another process to write; `hold` takes the lock again."""
        if self._let_go is not None and self._pid == os.getpid():
            import fcntl

            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a forked child still has the descriptor
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
        """Raise unless the holder is this process, or it has ended and left forked children."""
        who, unknown = "another process", ""
        try:
            holder: Any = json.loads(text)
            pid, host, since = int(holder["pid"]), str(holder["host"])[:80], str(holder["since"])[:40]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass
        else:
            here = {**_here(), "pid": pid}
            if here == {key: holder.get(key) for key in here} and (pid == os.getpid() or _gone(pid)):
                return
            who = f"process {pid!s:.20} on {host!r} (since {since!r})"
            if here != {key: holder.get(key) for key in here}:
                unknown = (
                    " It runs on another host or in another container, so whether it is alive cannot be "
                    "seen from here; a network file system may keep the lock of a lost host for minutes."
                )
        raise LogError(
            f"{who} writes the run log in {self._path.parent}; two runs would mix their steps there. "
            f"Choose another output folder, or end that run first.{unknown}"
        )

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            text = (
                f"{self._path.parent} cannot be locked ({error.strerror}); make sure that no other run "
            )
            warnings.warn(text + "writes its log there", stacklevel=4)


def _here() -> dict[str, Any]:
    """This process: its id, with the host and the container in which the id is valid."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        space = ""
    try:  # hosts may have the same name, and all hosts call their first space of processes the same
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        boot = ""
    return {"pid": os.getpid(), "host": platform.node()[:80], "space": space, "boot": boot}


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False
