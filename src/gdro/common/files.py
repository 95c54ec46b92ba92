"""Files that are complete or absent, and checks of paths before any work."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from gdro.errors import GdroError


def write_json(path: Path, data: Any, private: bool = False) -> None:
    """Write JSON as `write_text` does; `private` for files with a run's configuration."""
    write_text(path, json.dumps(data, indent=1) + "\n", private)


def write_text(path: Path, text: str, private: bool = False) -> None:
    """Write UTF-8 text by renaming into place, so that the file is complete or absent."""
    with replacing(path, private=private) as file:
        file.write(text.encode("utf-8", "replace"))  # a lone surrogate becomes '?'


@contextmanager
def replacing(path: Path, durable: bool = False, private: bool = False) -> Generator[BinaryIO]:
    """A new binary file that replaces `path` once it is complete; its folder is created if missing.

    A symbolic link at `path` is replaced, not followed. `durable` waits until the file is on disk before
    it is renamed; only the owner may read a `private` file.

    Raises:
        OSError: It cannot be written, or `path` is not a file; an earlier file is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # a rename would replace /dev/null by a file
        raise OSError(
            errno.EINVAL, "it is a folder, a device or a pipe; give the path of a file", str(path)
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)  # left by a killed process with the same id, or planted
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
    """Opener for `open` that raises OSError for a symbolic link, a device or a pipe."""
    # Non-blocking: opening a pipe would wait for its reader. It has no effect on files.
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed: remove it", path)
    descriptor = os.open(path, flags | extra, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a device or a pipe: remove it", path)
    return descriptor


def parsed(text: str | bytes) -> Any:
    """JSON data of an untrusted text; raises ValueError if it is not JSON or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(
    path: Path, keys: Sequence[str] = (), error: type[GdroError] = GdroError
) -> dict[str, Any]:
    """The mapping with these `keys` in a JSON file that gdro wrote; raises `error` for another file."""
    try:
        data = parsed(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise error(f"{path} is damaged ({problem}); move it away, or write it again") from problem
    absent = [key for key in keys if not isinstance(data, dict) or key not in data]
    if absent or not isinstance(data, dict):
        what = f"lacks {absent[0]!r}" if absent else "does not hold a mapping"
        raise error(f"{path} {what}: gdro did not write it; move it away, or write it again")
    return cast("dict[str, Any]", data)


def check_name(
    name: str, what: str, error: type[GdroError] = GdroError, taken: Collection[str] = ()
) -> None:
    """Raise `error` unless a name, called `what`, can be that of a subfolder and is not `taken`."""
    good = re.fullmatch(r"[^\s/\\.][^/\\]*", name) and name.isprintable() and not name.endswith(" ")
    if not good or len(name.encode()) > _LONGEST:
        raise error(
            f"{what} is {name[:_LONGEST]!r}; it names a folder: 1 to {_LONGEST} bytes, printable, "
            "no '/' or '\\', no '.' at the start, and no space at either end"
        )
    if name in taken:
        raise error(f"{what} is {name!r}, which is the name of a file of every run; choose another")


_LONGEST = 120  # a file system takes 255, and files made beside it have longer names


def check_folder(path: Path, option: str) -> None:
    """Raise GdroError before any work if the folder given as `option` cannot be created or written."""
    if path.exists() and not path.is_dir():
        raise GdroError(f"{option} is {path}, which is a file; give the path of a folder")
    _check_above(path, option)


def check_file(path: Path, option: str) -> None:
    """Raise GdroError before any work if the file given as `option` cannot be written."""
    if path.is_dir():
        raise GdroError(f"{option} is {path}, which is a folder; give the path of a file in it")
    if path.exists() and not path.is_file():
        raise GdroError(f"{option} is {path}, which is a device or a pipe; give the path of a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise GdroError(f"{option} is {path}, which may not be written; give another")
    _check_above(path.absolute().parent, option, path)


def _check_above(path: Path, option: str, shown: Path | None = None) -> None:
    """Raise unless the nearest existing folder at or above a path is writable."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise GdroError(f"{option} is {shown or path}, and {there} is a file; give another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise GdroError(f"{option} is {shown or path}, and {there} may not be written; give another")


OF_RUNS = frozenset(
    (
        *("recipe.json", "origin.json", "base.json", "summary.json", "seeds.json", "eval.json"),
        *("report.html", "figures"),
    )
)
"""Names in a run's folder besides its arms."""
_MARK = ".made-by-gdro"


def fresh(folder: Path) -> Path:
    """Absolute path of an empty folder; one that this function created before is renamed, not deleted.

    Raises:
        GdroError: The folder holds files of others, or cannot be renamed or written.
    """
    check_folder(folder, "--output")
    folder = folder.resolve()
    if (folder / _MARK).is_file():  # it may hold files that the user has added since
        number = 1
        while os.path.lexists(aside := folder.with_name(f"{folder.name}.{number}")):
            number += 1
        try:
            folder.rename(aside)
        except OSError as error:
            raise GdroError(
                f"{folder} holds an earlier dry run and cannot be renamed ({error.strerror}); remove "
                "it, or give another --output"
            ) from error
    if folder.exists() and any(folder.iterdir()):
        raise GdroError(f"{folder} holds other files; give another --output, or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    return folder


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
