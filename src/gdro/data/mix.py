"""Combine parts of several datasets, and hold out some of their problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdro.data.alike import normalised, overlap
from gdro.data.load import load
from gdro.data.prompts import Style, with_instruction
from gdro.data.rows import DataError
from gdro.data.statistics import kind_of

_COLUMNS = ("prompt", "answer", "prompt_id", "source")


@dataclass(frozen=True)
class Source:
    """A dataset, and which of its problems are used.

    Attributes:
        set: Dataset as for `gdro data`: a preset, a file, or `reasoning-gym:NAME?size=...`.
        name: Value of the rows' `source`; default: the dataset's own name.
        file: Local file with the preset's columns, read instead of the hub.
        limit: Most problems to use.
        longest: Most characters of a problem.
        digits: Most digits of an answer; if given, only integer answers are used.
        levels: The levels to use, for datasets with levels.
        shots: Number of problems shown with their answers before every other one; plain prompts only.
    """

    set: str
    name: str | None = None
    file: str | None = None
    limit: int | None = None
    longest: int | None = None
    digits: int | None = None
    levels: tuple[str, ...] | None = None
    shots: int = 0

    def rows(self, style: Style, instruction: str) -> list[dict[str, Any]]:
        """Its problems as prompts, in the order of their ids: random, but always the same."""
        table = load(self.set, Path(self.file).expanduser() if self.file else None)
        rows = sorted((row for row in table if self._wanted(row)), key=lambda row: row["prompt_id"])
        shown, rows = rows[: self.shots], rows[self.shots :]
        if not rows:
            raise DataError(f"no problem of {self.set} is left; relax longest, digits, levels or shots")
        if self.shots and style != "plain":
            raise DataError(f"shots of {self.set} is {self.shots}, which needs style: plain")
        before = "".join(f"{_asked(row)} {row['answer']}\n\n" for row in shown)
        prompts: list[dict[str, Any]] = []
        for row in rows[: self.limit]:
            problem = row["prompt"]
            few_shot = before + _asked(row)
            prompt = few_shot if self.shots else with_instruction(problem, style, instruction)
            changed = {"prompt": prompt, "problem": problem, "source": self.name or row["source"]}
            prompts.append({**{name: row[name] for name in _COLUMNS}, **changed})
        return prompts

    def _wanted(self, row: Mapping[str, Any]) -> bool:
        answer = row["answer"]
        short = self.longest is None or len(row["prompt"]) <= self.longest
        is_integer = kind_of(answer) == "integer"
        number = self.digits is None or (is_integer and len(answer.lstrip("-")) <= self.digits)
        return short and number and (self.levels is None or str(row.get("level")) in self.levels)


def _asked(row: Mapping[str, Any]) -> str:
    return f"Question: {row['prompt']}\nAnswer:"


def sources_of(given: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> list[Source]:
    """Sources from plain data; `files` are local files by dataset, for sources without their own.

    Raises:
        DataError: An option is unknown, or `set` is missing.
    """
    sources: list[Source] = []
    known = Source.__dataclass_fields__
    for options in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        if not isinstance(options, Mapping):
            raise DataError(
                f"a source is {options!r}; write a list of sources, each with its options, e.g. "
                "[{set: gsm8k}, {set: mine.jsonl, limit: 1000}]"
            )
        unknown = sorted(set(options) - set(known))
        if unknown or "set" not in options:
            wrong = f"has {unknown[0]!r}" if unknown else "has no `set`"
            raise DataError(f"a source {wrong}; its options: {', '.join(known)}")
        levels = options.get("levels")
        own = {
            "levels": None if levels is None else tuple(map(str, levels)),
            "file": options.get("file", files.get(options["set"])),
        }
        sources.append(Source(**{**options, **own}))
    return sources


def mixed(
    sources: Sequence[Source], heldout: Sequence[Source] | int, style: Style, instruction: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and held-out rows, each with `prompt`, `answer`, `prompt_id`, `source`.

    Problems are unique. A training problem must not be held out too, or share thirteen consecutive
    words with a held-out problem of another dataset.

    Args:
        sources: Sources of the training rows.
        heldout: Sources of the held-out rows, or their number, in equal shares of the training sources.
        style: `chat` or `plain`, see `gdro.data.prompts`.
        instruction: Text below each problem, see `gdro.data.prompts`.

    Raises:
        DataError: A dataset cannot be loaded, or no row is left to train on or to hold out.
    """
    parts = [source.rows(style, instruction) for source in sources]
    if isinstance(heldout, int):
        shares = [heldout // len(parts) + (i < heldout % len(parts)) for i in range(len(parts))]
        pairs = list(zip(parts, shares, strict=True))
        held = _distinct([row for part, share in pairs for row in part[:share]])
        parts = [part[share:] for part, share in pairs]
    else:
        held = _distinct([row for source in heldout for row in source.rows(style, instruction)])
    rows = _distinct([row for part in parts for row in part])
    common = overlap([row["problem"] for row in rows], [row["problem"] for row in held])
    near = [] if isinstance(heldout, int) else common.near
    left = [row for i, row in enumerate(rows) if i not in {*common.same, *near}]
    if not left or not held:
        raise DataError(
            f"{len(left)} rows to train on, {len(held)} held out; at least one of each is needed: "
            "use more data"
        )
    return _columns(left), _columns(held)


def _distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({normalised(row["problem"]): row for row in reversed(rows)}.values())[::-1]


def _columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in _COLUMNS} for row in rows]
