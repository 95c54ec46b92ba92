"""The run's own record: append-only JSONL, one line a step and one a rollout group.

Beside them `run.json` says what ran, with the version of this format, and `prompts.jsonl` has the first
characters of each prompt where the adapter knows texts. Logs of format 1 have neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gdro.files import write_json

STEPS, GROUPS = "steps.jsonl", "groups.jsonl"
RUN, PROMPTS = "run.json", "prompts.jsonl"
# 1: steps and groups alone. 2: run.json, prompts.jsonl, `predicted` in groups.
SCHEMA = 2
TEXT_LENGTH = 80


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
        self._described = False
        for name in (STEPS, GROUPS):
            drop_partial_line(self.directory / name)

    def describe(self, header: Mapping[str, Any]) -> None:
        """Write once what runs: strategy, options, pool; the version of the format is added."""
        if not self._described:
            write_json(self.directory / RUN, {"schema": SCHEMA, **header})
            self._described = True

    def write_prompts(self, text_by_key: Iterable[tuple[str, str]]) -> None:
        """Write the beginning of each prompt's text, for readers of the log.

        Args:
            text_by_key: Key and text of each prompt; texts are cut at 80 characters.
        """
        path = self.directory / PROMPTS
        partial = path.with_name(f".{PROMPTS}.part")
        with partial.open("w", encoding="utf-8") as file:
            for key, text in text_by_key:
                file.write(json.dumps({"key": key, "text": shortened(text)}) + "\n")
        os.replace(partial, path)

    def append(self, step: dict[str, Any], groups: Iterable[dict[str, Any]]) -> None:
        """Write the groups of a step, then the step, and flush both."""
        # Groups first: a step on record always has its groups.
        self._write(GROUPS, groups)
        self._write(STEPS, [step])

    def set_aside(self) -> None:
        """Start empty: records of an earlier run are kept as `steps.1.jsonl` and so on."""
        names = (STEPS, GROUPS, RUN, PROMPTS)
        used = [p for p in (self.directory / n for n in names) if p.exists()]
        number = 1
        while any(p.with_suffix(f".{number}{p.suffix}").exists() for p in used):
            number += 1
        for path in used:
            os.replace(path, path.with_suffix(f".{number}{path.suffix}"))

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


def shortened(text: str) -> str:
    """The first characters of a text, on one line."""
    line = " ".join(text[: 4 * TEXT_LENGTH].split())
    return line if len(line) <= TEXT_LENGTH else line[: TEXT_LENGTH - 1] + "…"


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
