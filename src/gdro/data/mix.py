"""Several sets in one: what is taken of each, and what is held out."""

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

_KEPT = ("prompt", "answer", "prompt_id", "source")


@dataclass(frozen=True)
class Source:
    """A set, and what is taken of it.

    Attributes:
        set: As for `gdro data`: a set of the hub, a file, or `reasoning-gym:NAME?size=...`.
        name: What its rows are called; default: the set's own name.
        file: Local file with the columns of the hub's set, in its place.
        limit: At most so many problems.
        longest: Most characters of a problem.
        digits: Only answers that are integers of at most so many digits.
        levels: Only these levels, where the set has levels.
        shots: Problems of the set shown with their answers before each other one; plain prompts only.
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
        """Its problems as prompts, in the order of their ids, which is random and always the same.

        Raises:
            DataError: The set cannot be loaded, or nothing of it is left.
        """
        table = load(self.set, Path(self.file).expanduser() if self.file else None)
        rows = sorted((row for row in table if self._wanted(row)), key=lambda row: row["prompt_id"])
        shown, rows = rows[: self.shots], rows[self.shots :]
        if not rows:
            raise DataError(f"nothing of {self.set} is left; widen longest, digits, levels or shots")
        if self.shots and style != "plain":
            raise DataError(f"shots of {self.set} is {self.shots}, which needs style: plain")
        before = "".join(f"{_asked(row)} {row['answer']}\n\n" for row in shown)
        made: list[dict[str, Any]] = []
        for row in rows[: self.limit]:
            prompt = (
                before + _asked(row)
                if self.shots
                else with_instruction(row["prompt"], style, instruction)
            )
            changed = {"prompt": prompt, "problem": row["prompt"], "source": self.name or row["source"]}
            made.append({**{name: row[name] for name in _KEPT}, **changed})
        return made

    def _wanted(self, row: Mapping[str, Any]) -> bool:
        answer = row["answer"]
        short = self.longest is None or len(row["prompt"]) <= self.longest
        number = self.digits is None or (
            kind_of(answer) == "integer" and len(answer.lstrip("-")) <= self.digits
        )
        return short and number and (self.levels is None or str(row.get("level")) in self.levels)


def _asked(row: Mapping[str, Any]) -> str:
    return f"Question: {row['prompt']}\nAnswer:"


def sources_of(given: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> list[Source]:
    """Sources from plain data.

    Args:
        given: Options of each.
        files: Local files by the names of sets, for sources that name none.

    Returns:
        The sources.

    Raises:
        DataError: An option is unknown, or `set` is missing.
    """
    found: list[Source] = []
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
        found.append(Source(**{**options, **own}))
    return found


def mixed(
    sources: Sequence[Source], heldout: Sequence[Source] | int, style: Style, instruction: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and held-out rows.

    Args:
        sources: Of the training rows.
        heldout: Sources of the held-out rows, or so many of the training sources', in equal shares.
        style: See `gdro.data.prompts`.
        instruction: See `gdro.data.prompts`.

    Returns:
        Rows with `prompt`, `answer`, `prompt_id`, `source`; no problem is in both, or in one twice, and
        none that shares thirteen words in a row with a held-out one of another set is trained on.

    Raises:
        DataError: A set cannot be loaded, or nothing is left to train on or to hold out.
    """
    parts = [source.rows(style, instruction) for source in sources]
    if isinstance(heldout, int):
        shares = [heldout // len(parts) + (i < heldout % len(parts)) for i in range(len(parts))]
        held = _distinct(
            [row for part, share in zip(parts, shares, strict=True) for row in part[:share]]
        )
        parts = [part[share:] for part, share in zip(parts, shares, strict=True)]
    else:
        held = _distinct([row for source in heldout for row in source.rows(style, instruction)])
    rows = _distinct([row for part in parts for row in part])
    common = overlap([row["problem"] for row in rows], [row["problem"] for row in held])
    near = [] if isinstance(heldout, int) else common.near
    left = [row for i, row in enumerate(rows) if i not in {*common.same, *near}]
    if not left or not held:
        raise DataError(
            f"{len(left)} rows to train on, {len(held)} held out; there must be some of both"
        )
    return _columns(left), _columns(held)


def _distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({normalised(row["problem"]): row for row in reversed(rows)}.values())[::-1]


def _columns(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in _KEPT} for row in rows]
