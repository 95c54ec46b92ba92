"""The run log: append-only JSONL files with one line per step and one per rollout group.

`run.json` describes the run and has the version of this format. `prompts.jsonl` has the first characters
of each prompt if the adapter knows its text, `completions.jsonl` those of completions if asked for.
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
from gdro.log.schema import Check, checked, text, ticket

STEPS, GROUPS = "steps.jsonl", "groups.jsonl"
RUN, PROMPTS, COMPLETIONS = "run.json", "prompts.jsonl", "completions.jsonl"
SCHEMA = 2
TEXT_LENGTH = 80
_BLOCK = 1 << 16
Describe = Callable[[str], tuple[str, str | None]]
"""Text and source of the prompt of a key."""


class RunLog:
    """Append-only log in a directory, flushed after each step.

    A line that a crash truncated is dropped when the log is opened again. After a resume, lines of plans
    that are not closed in the checkpoint are dropped, so that no step is logged twice. A step is logged
    with all its groups or not at all. One process at a time may write to a directory.

    Args:
        directory: Folder of the log's files; created if missing.

    Raises:
        LogError: The directory is not writable, another process writes to it, or a file is a link.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._described = self._begun = False
        self._notes: dict[str, str] = {}
        self._lock = FolderLock(self.directory)
        self._sizes: list[int] | None = None  # of the files of groups and steps, as this log left them
        self._describe: Describe | None = None
        self._named: set[str] = set()
        with self._readable_error():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.hold()
            for name in (STEPS, GROUPS, COMPLETIONS, PROMPTS):
                drop_partial_line(self.directory / name)

    def note(self, name: str, text: str) -> None:
        """Add a field to `run.json`, before the first step.

        Args:
            name: Name of the field, e.g. `correct`.
            text: Its value.
        """
        self._notes[name] = text

    @property
    def described(self) -> bool:
        """Whether `describe` was called, and wrote `run.json`."""
        return self._described

    def describe(self, header: Mapping[str, Any]) -> None:
        """Write `run.json` once; further calls do nothing.

        Args:
            header: Description of the run: strategy, options, number of prompts and so on.

        Raises:
            LogError: The directory holds another run's steps, or is not writable.
        """
        if self._described:
            return
        steps = self.directory / STEPS
        if not self._begun and steps.exists() and steps.stat().st_size:
            raise LogError(
                f"{self.directory} holds the steps of an earlier run, so tickets would be logged twice; "
                "load that run's checkpoint, call set_aside() first, or choose another folder"
            )
        with self._readable_error():
            write_json(self.directory / RUN, {"schema": SCHEMA, **header, **self._notes})
        self._described = True

    def write_prompts(
        self, text_by_key: Iterable[tuple[str, str]], source_by_key: Mapping[str, str] | None = None
    ) -> None:
        """Write the beginning of each prompt's text, and its source, to `prompts.jsonl`.

        Args:
            text_by_key: Pairs of key and text; texts are truncated to 80 characters.
            source_by_key: Source of prompts by key, e.g. a dataset's name; None: not known.

        Raises:
            LogError: The disk is full or the file is not writable; an earlier file is intact.
        """
        with self._readable_error():
            _replace({self.directory / PROMPTS: _with_sources(text_by_key, source_by_key or {})})

    def name_prompts(self, describe: Describe) -> None:
        """Write the beginning of each prompt's text, and its source, when it is first visited.

        A run over a million prompts need not wait until all are written, as with `write_prompts`.

        Args:
            describe: Text of the prompt of a key, and its source (None: not known).

        Raises:
            LogError: `prompts.jsonl` of the run that goes on is damaged.
        """
        self._describe = describe
        path = self.directory / PROMPTS
        self._named = {r["key"] for r in read_jsonl(path, text)} if path.exists() else set()

    def _names(self, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Records of prompts that are visited for the first time."""
        if self._describe is None:
            return []
        new = [group["key"] for group in groups if group["key"] not in self._named]
        described = [(key, *self._describe(key)) for key in dict.fromkeys(new)]
        sources = {key: source for key, _, source in described if source is not None}
        return list(_with_sources(((key, said) for key, said, _ in described), sources))

    def write_completions(self, text_by_key: Mapping[str, str]) -> None:
        """Append the beginning of a completion of some prompts; readers use a prompt's last one.

        Args:
            text_by_key: Completion by key of the prompt; texts are truncated to 80 characters.

        Raises:
            LogError: The disk is full or the file is not writable.
        """
        with self._readable_error():
            _append(self.directory / COMPLETIONS, _texts(text_by_key.items()))

    def append(self, step: dict[str, Any], groups: Iterable[dict[str, Any]]) -> None:
        """Write the groups of a step, then the step, and flush both.

        Args:
            step: Record of the step, JSON data with its `ticket`.
            groups: Records of its rollout groups.

        Raises:
            LogError: The disk is full or the files are not writable, and the log is unchanged. Or the
                log was deleted, truncated or written by another program since the last step.
        """
        self._begun = True
        groups = list(groups)
        names = self._names(groups)
        # In this order, so that a logged step always has its groups, and these their names.
        paths = [self.directory / name for name in (PROMPTS, GROUPS, STEPS)]
        with self._readable_error():
            self._lock.hold()
            sizes = [_size(path) for path in paths]
            self._check_sizes(paths[1:], sizes[1:])
            try:
                for path, records in zip(paths, (names, groups, (step,)), strict=True):
                    if path != paths[0] or records:
                        _append(path, records)
            except OSError:
                for path, size in zip(paths, sizes, strict=True):
                    if _size(path) > size:
                        with open(path, "rb+", opener=no_link) as file:
                            file.truncate(size)
                raise
            self._sizes = [_size(path) for path in paths[1:]]
            self._named.update(name["key"] for name in names)

    def release(self) -> None:
        """Release the lock, so that another process may write until this log is written again."""
        self._lock.release()

    def _check_sizes(self, paths: list[Path], sizes: list[int]) -> None:
        for path, size, left in zip(paths, sizes, self._sizes or sizes, strict=True):
            if size != left:
                raise LogError(
                    f"{path} has {size} bytes, but this run left {left}: it was deleted, truncated or "
                    "written by another program or another log of this process, and steps would be "
                    "missing. Restore it, or move the folder away, and resume from the last checkpoint"
                )

    def sync(self) -> None:
        """Wait until the log is on disk, so that no checkpoint on disk is ahead of it."""
        with self._readable_error():
            self._lock.hold()
            for path in (self.directory / name for name in (GROUPS, STEPS)):
                if path.exists():
                    sync(path)

    def set_aside(self) -> None:
        """Start empty; files of an earlier run are renamed to `steps.1.jsonl` and so on.

        Raises:
            LogError: The files cannot be renamed.
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
            closed: Whether a ticket is closed in the loaded checkpoint.

        Raises:
            LogError: A line is damaged, or the disk is full; the log is unchanged.
        """
        self._begun = True
        self._sizes = None
        # Steps first: after a crash between the two, every step still has its groups.
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
                f"cannot write the run log in {self.directory} ({error.strerror or error}); all steps "
                "up to here are complete. Free space, or choose a writable folder, and resume from the "
                "last checkpoint"
            ) from error


def _replace(records_by_path: Mapping[Path, Iterable[dict[str, Any]]]) -> None:
    """Rewrite files; all new ones are complete before the first replaces its old one."""
    with ExitStack() as whole:  # exits in reverse order, once all are written
        for path, records in reversed(list(records_by_path.items())):
            file = whole.enter_context(replacing(path))
            file.writelines((json.dumps(record) + "\n").encode() for record in records)
            file.flush()
            os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, records: Iterable[dict[str, Any]]) -> None:
    rest = memoryview("".join(json.dumps(record) + "\n" for record in records).encode())
    # Unbuffered: a buffer would try to write again when the file is closed.
    with open(path, "ab", buffering=0, opener=no_link) as file:
        while rest:
            rest = rest[file.write(rest) :]


def _with_sources(
    text_by_key: Iterable[tuple[str, str]], source_by_key: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    for record in _texts(text_by_key):
        source = source_by_key.get(record["key"])
        yield record if source is None else record | {"source": shortened(source)}


def _texts(text_by_key: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    return ({"key": key, "text": shortened(text)} for key, text in text_by_key)


def _closed(path: Path, closed: Callable[[int], bool]) -> Iterator[dict[str, Any]]:
    return (record for record in read_jsonl(path, ticket) if closed(record["ticket"]))


def shortened(text: str) -> str:
    """The first characters of a text, on one line."""
    line = " ".join(text[: 4 * TEXT_LENGTH].split())
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 1] + "…"


def read_jsonl(path: str | Path, check: Check | None = None) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file, oldest first, without a truncated last line.

    Each must pass the `check`, see `gdro.log.schema`.

    Raises:
        LogError: A line is damaged; names it.
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
        raise LogError(f"line {number} of {path} holds {line[:40]!r}, not a record; move the file away")
    return cast("dict[str, Any]", record)


def drop_partial_line(path: Path) -> None:
    """Truncate a file before an incomplete last line; reads no more than that line."""
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
