"""What sittings left in files: lines of evaluations, and a base's figures in `speed.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.common.files import parsed
from gdro.errors import GdroError

Line = dict[str, Any]
_KEYS = ("arm", "seed", "step", "seconds", "rollouts", "tokens", "slices", "curves")
_BASE = ("weights", "slices", "num_prompts", "samples")


class FileError(GdroError):
    """A file is not what a sitting writes."""


def lines_in(paths: Sequence[Path]) -> tuple[list[Line], int]:
    """The evaluations in files, and the k of their pass@k.

    Raises:
        FileError: A file is absent, another one or damaged, holds no evaluation, or another k.
    """
    lines: list[Line] = []
    source: dict[int, Path] = {}  # by k
    for path in paths:
        text = _text(path)
        if _is_summary(text):
            raise FileError(
                f"{path} is the summary of a sitting, not its evaluations; give its .jsonl, or --base "
                f"{path} for the figures of the base"
            )
        own = [_line(path, i, row) for i, row in enumerate(text.splitlines(), 1) if row.strip()]
        if not own:
            raise FileError(
                f"{path} holds no evaluation; give the sitting.jsonl of a sitting that trained"
            )
        lines += own
        source |= {k_of(line): path for line in own}
    if len(source) > 1:
        held = ", ".join(f"pass@{k} in {path}" for k, path in sorted(source.items()))
        raise FileError(f"the files have different k ({held}); give those of one k at a time")
    return lines, next(iter(source))


def k_of(line: Line) -> int:
    """The k of an evaluation's headline: its mean is called `mean@k`, however many were sampled."""
    return int(next(name for name in line if name.startswith("mean@")).removeprefix("mean@"))


def sampled(lines: Sequence[Line], k: int) -> list[int]:
    """The headline's k, and the largest further one that every line has."""
    names = set.intersection(*(set(line) for line in lines))
    others = [int(name[5:]) for name in names if name.startswith("pass@")]
    return [k, max(others)] if max(others) > k else [k]


def bases_in(path: Path) -> dict[str, Line]:
    """The figures of the bases that a sitting evaluated, by their names in its `speed.json`.

    Raises:
        FileError: The file is absent, another one or damaged, or has no such figures.
    """
    text = _text(path)
    try:
        data = parsed(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise FileError(f"{path} is not the speed.json of a sitting; give that file")
    bases = {
        name: value
        for name, value in data.items()
        if isinstance(value, dict)
        and value.keys() >= set(_BASE)
        and any(key.startswith("mean@") for key in value)
    }
    if not bases:
        raise FileError(
            f"{path} has no figures of a base; give the speed.json of a sitting whose --phases had train"
        )
    return bases


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}); give a file of a sitting") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not text; give a file of a sitting") from error


def _is_summary(text: str) -> bool:
    """Whether it is one object over several lines."""
    try:
        return text.startswith("{\n") and isinstance(parsed(text), dict)
    except ValueError:
        return False


def _line(path: Path, number: int, row: str) -> Line:
    try:
        line = parsed(row)
    except ValueError:
        raise FileError(
            f"{path}: line {number} is cut off or damaged; remove that line, or copy the file again"
        ) from None
    lacking = [key for key in _KEYS if not isinstance(line, dict) or key not in line]
    if not lacking and not any(name.startswith("mean@") for name in line):
        lacking = ["mean@k"]
    if lacking:
        raise FileError(
            f"{path}: line {number} is no evaluation of a sitting (it lacks {lacking[0]!r}); give its "
            "sitting.jsonl"
        )
    return line
