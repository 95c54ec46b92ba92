"""Files that are whole or absent, and folders that are new."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from gdro.errors import GdroError


def write_json(path: Path, data: Any, private: bool = False) -> None:
    """Write JSON by renaming into place, so that a file is whole or absent.

    Args:
        path: Target; its folder is made if missing.
        data: JSON data.
        private: Only its owner may read it: what holds a run's configuration.
    """
    write_text(path, json.dumps(data, indent=1) + "\n", private)


def write_text(path: Path, text: str, private: bool = False) -> None:
    """Write text (UTF-8) by renaming into place; the folder is made if missing."""
    with replacing(path, private=private) as file:
        file.write(text.encode("utf-8", "replace"))  # half of a character, of a stranger's text, is '?'


@contextmanager
def replacing(path: Path, durable: bool = False, private: bool = False) -> Generator[BinaryIO]:
    """A new file that takes the place of another once it is whole.

    Args:
        path: Target; its folder is made if missing. A symbolic link there is replaced, not followed.
        durable: Wait until the file is on disk before it takes the place.
        private: Only its owner may read it, from its first byte on.

    Yields:
        The file, for bytes.

    Raises:
        OSError: It cannot be written, or `path` is no file; what stood there is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a rename would put a file in the place of /dev/null
        raise OSError(
            errno.EINVAL, "it is a folder, a device or a pipe; give the path of a file", str(path)
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)  # of a killed process of the same number, or planted
    try:
        with open(partial, "xb", opener=_private if private else no_link) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return no_link(path, flags, 0o600)


def no_link(path: str, flags: int, mode: int = 0o666) -> int:
    """Opener of `open` for files that gdro appends to: a file of its own, never what a link leads to.

    Raises:
        OSError: It is a symbolic link, or no regular file.
    """
    # Not to wait for a reader of a pipe; of no effect on files.
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed: remove it", path)
    descriptor = os.open(path, flags | extra, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a device or a pipe: remove it", path)
    return descriptor


def parsed(text: str | bytes) -> Any:
    """JSON data of a text that may be anything.

    Raises:
        ValueError: It is no JSON, has a number of thousands of digits, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(
    path: Path, keys: Sequence[str] = (), error: type[GdroError] = GdroError
) -> dict[str, Any]:
    """Read a file that gdro wrote.

    Args:
        path: JSON.
        keys: What it must have.
        error: Raised.

    Returns:
        The mapping in it.

    Raises:
        GdroError: Of the class `error`: it is damaged, or of something else.
    """
    try:
        found = parsed(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise error(f"{path} is damaged ({problem}); move it away, or write it anew") from problem
    absent = [key for key in keys if not isinstance(found, dict) or key not in found]
    if absent or not isinstance(found, dict):
        what = f"lacks {absent[0]!r}" if absent else "holds no mapping"
        raise error(f"{path} {what}: it is none that gdro wrote; move it away, or write it anew")
    return cast("dict[str, Any]", found)


def check_name(
    name: str, what: str, error: type[GdroError] = GdroError, taken: Collection[str] = ()
) -> None:
    """Raise unless a name can be that of a folder inside another.

    Args:
        name: The name.
        what: What the caller calls it.
        error: Raised.
        taken: Names that the folder has another use for.

    Raises:
        GdroError: Of the class `error`: it is empty, hidden, too long or taken, or leads elsewhere.
    """
    good = re.fullmatch(r"[^\s/\\.][^/\\]*", name) and name.isprintable() and not name.endswith(" ")
    if not good or len(name.encode()) > _LONGEST:
        raise error(
            f"{what} is {name[:_LONGEST]!r}; it names a folder: 1 to {_LONGEST} bytes, no '/' or '\\', "
            "nothing that cannot be printed, no '.' in front, and no space at either end"
        )
    if name in taken:
        raise error(f"{what} is {name!r}, which is the name of a file of every run; take another")


_LONGEST = 120  # a file system takes 255, and files made beside it have longer names


def check_folder(path: Path, option: str) -> None:
    """Raise before any work if a folder cannot be made, or not be written.

    Args:
        path: The folder; it need not exist.
        option: What the caller calls it.

    Raises:
        GdroError: It or a folder above it is a file, or may not be written.
    """
    if path.exists() and not path.is_dir():
        raise GdroError(f"{option} is {path}, which is a file; give the path of a folder")
    _check_above(path, option)


def check_file(path: Path, option: str) -> None:
    """Raise before any work if a file cannot be written.

    Args:
        path: The file; it need not exist, nor its folder.
        option: What the caller calls it.

    Raises:
        GdroError: It is a folder, is below a file, or may not be written.
    """
    if path.is_dir():
        raise GdroError(f"{option} is {path}, which is a folder; give the path of a file in it")
    if path.exists() and not path.is_file():
        raise GdroError(f"{option} is {path}, which is a device or a pipe; give the path of a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise GdroError(f"{option} is {path}, which may not be written; give another")
    _check_above(path.absolute().parent, option, path)


def _check_above(path: Path, option: str, shown: Path | None = None) -> None:
    """Raise unless the nearest folder that exists, at or above a path, can be written."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise GdroError(f"{option} is {shown or path}, and {there} is a file; give another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise GdroError(f"{option} is {shown or path}, and {there} may not be written; give another")


OF_RUNS = frozenset(
    ("recipe.json", "base.json", "summary.json", "seeds.json", "eval.json", "report.html", "figures")
)
"""What a run's folder holds besides its arms."""
_MADE = ".made-by-gdro"


def fresh(folder: Path) -> Path:
    """A folder without what an earlier run of the same command left there.

    Args:
        folder: It is emptied if this function made it before.

    Returns:
        Its absolute path.

    Raises:
        GdroError: It holds something else.
    """
    check_folder(folder, "--output")
    folder = folder.absolute()
    if (folder / _MADE).exists():
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise GdroError(f"{folder} holds other files; give another --output, or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MADE).touch()
    return folder


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
