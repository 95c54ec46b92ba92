"""The run's own record: append-only JSONL, one line a step and one a rollout group."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

STEPS, GROUPS = "steps.jsonl", "groups.jsonl"


class RunLog:
    """Append-only log in a directory, flushed after each step.

    A line cut off by a crash is dropped when the log is opened again; after a resume, lines of
    plans that the checkpoint does not know as closed are dropped, so that no step stands twice.

    Args:
        directory: Where `steps.jsonl` and `groups.jsonl` are; made if missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in (STEPS, GROUPS):
            drop_partial_line(self.directory / name)

    def append(self, step: dict[str, Any], groups: Iterable[dict[str, Any]]) -> None:
        """Write the groups of a step, then the step, and flush both."""
        # Groups first: a step on record always has its groups.
        self._write(GROUPS, groups)
        self._write(STEPS, [step])

    def set_aside(self) -> None:
        """Start empty: records of an earlier run are kept as `steps.1.jsonl` and so on."""
        used = [p for p in (self.directory / n for n in (STEPS, GROUPS)) if p.exists()]
        number = 1
        while any(p.with_suffix(f".{number}.jsonl").exists() for p in used):
            number += 1
        for path in used:
            os.replace(path, path.with_suffix(f".{number}.jsonl"))

    def rewind(self, closed: Callable[[int], bool]) -> None:
        """Keep only records of closed tickets.

        Args:
            closed: Whether the loaded state knows a ticket as closed.
        """
        for name in (STEPS, GROUPS):
            path = self.directory / name
            if not path.exists():
                continue
            partial = path.with_name(f".{name}.part")
            with partial.open("w", encoding="utf-8") as file:
                for record in read_jsonl(path):
                    if closed(int(record["ticket"])):
                        file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)

    def _write(self, name: str, records: Iterable[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(record) + "\n" for record in records)
        with (self.directory / name).open("a", encoding="utf-8") as file:
            file.write(lines)


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Records of a JSONL file, oldest first; a last line that was cut off is left out.

    Args:
        path: The file.

    Yields:
        Each record.
    """
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def drop_partial_line(path: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
