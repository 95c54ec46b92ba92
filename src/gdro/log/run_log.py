"""The run's own record: append-only JSONL, one line a step and one a rollout group.

Beside them `run.json` says what ran, with the version of this format, and `prompts.jsonl` has the first
characters of each prompt where the adapter knows texts, `completions.jsonl` those of answers where
asked for. Logs of format 1 have none of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from gdro.common.files import no_link, parsed, replacing, sync, write_json
from gdro.common.lock import FolderLock
from gdro.errors import LogError
from gdro.log.schema import Check, checked, ticket

STEPS, GROUPS = "steps.jsonl", "groups.jsonl"
RUN, PROMPTS, COMPLETIONS = "run.json", "prompts.jsonl", "completions.jsonl"
# 1: steps and groups alone. 2: run.json, prompts.jsonl, `predicted` in groups.
SCHEMA = 2
TEXT_LENGTH = 80
_BLOCK = 1 << 16


class RunLog:
    """Append-only log in a directory, flushed after each step.

    A line cut off by a crash is dropped when the log is opened again; after a resume, lines of
    plans that the checkpoint does not know as closed are dropped, so that no step stands twice.
    A step is on record with all its groups, or not at all. One process at a time writes a directory.

    Args:
        directory: Where `steps.jsonl` and `groups.jsonl` are; made if missing.

    Raises:
        LogError: The directory cannot be written, another process writes it, or a file of it is a link.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._described = self._begun = False
        self._notes: dict[str, str] = {}
        self._lock = FolderLock(self.directory)
        self._sizes: list[int] | None = None  # of the files of groups and steps, as this log left them
        with self._readable_error():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.hold()
            for name in (STEPS, GROUPS, COMPLETIONS):
                drop_partial_line(self.directory / name)

    def note(self, name: str, text: str) -> None:
        """What `run.json` says besides, e.g. what an adapter takes for right; before the first step."""
        self._notes[name] = text

    def describe(self, header: Mapping[str, Any]) -> None:
        """Write once what runs: strategy, options, pool; the version of the format is added.

        Raises:
            LogError: The directory holds another run's steps, or cannot be written.
        """
        if self._described:
            return
        steps = self.directory / STEPS
        if not self._begun and steps.exists() and steps.stat().st_size:
            raise LogError(
                f"{self.directory} holds the steps of an earlier run, and tickets would stand there "
                "twice; load that run's checkpoint, call set_aside() first, or choose another folder"
            )
        with self._readable_error():
            write_json(self.directory / RUN, {"schema": SCHEMA, **header, **self._notes})
        self._described = True

    def write_prompts(self, text_by_key: Iterable[tuple[str, str]]) -> None:
        """Write the beginning of each prompt's text, for readers of the log.

        Args:
            text_by_key: Key and text of each prompt; texts are cut at 80 characters.

        Raises:
            LogError: The disk is full or the file cannot be written; what stood there is intact.
        """
        made = ({"key": key, "text": shortened(text)} for key, text in text_by_key)
        with self._readable_error():
            _replace({self.directory / PROMPTS: made})

    def write_completions(self, text_by_key: Mapping[str, str]) -> None:
        """Add the beginning of one completion of some prompts; readers take a prompt's last.

        Args:
            text_by_key: Text by key of the prompt; texts are cut at 80 characters.

        Raises:
            LogError: The disk is full or the file cannot be written.
        """
        made = ({"key": key, "text": shortened(text)} for key, text in text_by_key.items())
        with self._readable_error():
            _append(self.directory / COMPLETIONS, made)

    def append(self, step: dict[str, Any], groups: Iterable[dict[str, Any]]) -> None:
        """Write the groups of a step, then the step, and flush both.

        Raises:
            LogError: The disk is full or the files cannot be written; the log is as it was before. Or
                it was deleted, cut or written by something else since the last step.
        """
        self._begun = True
        # Groups first: a step on record always has its groups.
        paths = [self.directory / name for name in (GROUPS, STEPS)]
        with self._readable_error():
            self._lock.hold()
            sizes = [_size(path) for path in paths]
            self._check_sizes(paths, sizes)
            try:
                for path, records in zip(paths, (groups, (step,)), strict=True):
                    _append(path, records)
            except OSError:
                for path, size in zip(paths, sizes, strict=True):
                    if _size(path) > size:
                        with open(path, "rb+", opener=no_link) as file:
                            file.truncate(size)
                raise
            self._sizes = [_size(path) for path in paths]

    def release(self) -> None:
        """Let another process write the folder, until this log is written again."""
        self._lock.release()

    def _check_sizes(self, paths: list[Path], sizes: list[int]) -> None:
        for path, size, left in zip(paths, sizes, self._sizes or sizes, strict=True):
            if size != left:
                raise LogError(
                    f"{path} has {size} bytes, and this run left {left}: it was deleted, cut, or "
                    "written by something else, and a log with a hole would be worse than none. "
                    "Restore it, or move the folder away, and resume from the last checkpoint"
                )

    def sync(self) -> None:
        """Wait until the log is on disk, so that no checkpoint there is ahead of it."""
        with self._readable_error():
            self._lock.hold()
            for path in (self.directory / name for name in (GROUPS, STEPS)):
                if path.exists():
                    sync(path)

    def set_aside(self) -> None:
        """Start empty: records of an earlier run are kept as `steps.1.jsonl` and so on.

        Raises:
            LogError: The files cannot be moved.
        """
        self._begun = True
        self._sizes = None
        names = (STEPS, GROUPS, RUN, PROMPTS, COMPLETIONS)
        used = [p for p in (self.directory / n for n in names) if p.exists()]
        number = 1
        while any(p.with_suffix(f".{number}{p.suffix}").exists() for p in used):
            number += 1
        with self._readable_error():
            self._lock.hold()
            for path in used:
                os.replace(path, path.with_suffix(f".{number}{path.suffix}"))

    def rewind(self, closed: Callable[[int], bool]) -> None:
        """Keep only records of closed tickets.

        Args:
            closed: Whether the loaded state knows a ticket as closed.

        Raises:
            LogError: A line is damaged, or the disk is full; the log is as it was before.
        """
        self._begun = True
        self._sizes = None
        # Steps first: where a crash comes between the two, every step has its groups still.
        paths = [p for p in (self.directory / name for name in (STEPS, GROUPS)) if p.exists()]
        with self._readable_error():
            self._lock.hold()
            _replace({path: _closed(path, closed) for path in paths})

    @contextmanager
    def _readable_error(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise LogError(
                f"cannot write the run log in {self.directory} ({error.strerror or error}); it holds "
                "every step up to here, and none in part. Free space, or choose a folder that can be "
                "written, and resume from the last checkpoint"
            ) from error


def _replace(records_by_path: Mapping[Path, Iterable[dict[str, Any]]]) -> None:
    """Write files anew, each whole beside its old one before the first takes its place."""
    with ExitStack() as whole:  # left backwards, once all are written
        for path, records in reversed(list(records_by_path.items())):
            file = whole.enter_context(replacing(path))
            file.writelines((json.dumps(record) + "\n").encode() for record in records)
            file.flush()
            os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    rest = memoryview("".join(json.dumps(record) + "\n" for record in records).encode())
    with open(
        path, "ab", buffering=0, opener=no_link
    ) as file:  # no buffer that would try again when it is closed
        while rest:
            rest = rest[file.write(rest) :]


def _closed(path: Path, closed: Callable[[int], bool]) -> Iterator[dict[str, Any]]:
    return (record for record in read_jsonl(path, ticket) if closed(record["ticket"]))


def shortened(text: str) -> str:
    """The first characters of a text, on one line."""
    line = " ".join(text[: 4 * TEXT_LENGTH].split())
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 1] + "…"


def read_jsonl(path: str | Path, check: Check | None = None) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file, oldest first; a last line that was cut off is left out.

    Args:
        path: The file.
        check: What each record must hold, see `gdro.log.schema`.

    Yields:
        Each record.

    Raises:
        LogError: A line inside the file is damaged; names it.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                record = _record(line, Path(path), number)
                yield record if check is None else checked(record, check, f"line {number} of {path}")


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = parsed(line)
    except ValueError as error:
        raise LogError(
            f"line {number} of {path} is damaged ({error}); move the file away, or delete that line"
        ) from error
    if not isinstance(record, dict):
        raise LogError(f"line {number} of {path} holds {line[:40]!r}, which is no record; move it away")
    return cast("dict[str, Any]", record)


def drop_partial_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished; reads no more than that line."""
    if not os.path.lexists(path):
        return
    with open(path, "rb+", opener=no_link) as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if end < size:
            file.truncate(end)
