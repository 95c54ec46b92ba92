"""What a record of a run log must hold, checked as it is read: one error that names file and line.

Readers of a log may rely on what is checked here: whole numbers are whole, no number is above 1e18 in
size, so that sums and products of a few stay finite, and lists that belong together have one length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from gdro.errors import GdroError, LogError

Record = Mapping[str, Any]
Check = Callable[[Record], None]

LARGEST = 1e18
"""Size of the largest number of a log; rewards have the same bound."""
MOST_ROLLOUTS = 1 << 14
"""Rollouts of one group: a line says so in a few bytes, and readers take memory for them."""
LONGEST_KEY = 1 << 14
_LAST = 1 << 62
_BINS = ("prompts", "rollouts", "weight", "pass_rate")


class Fault(ValueError):
    """What is wrong with a record; its reader knows the file and the line."""


def is_number(value: Any) -> bool:
    """Whether a value is a finite number within the bound (not a boolean)."""
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def is_count(value: Any, most: int = _LAST) -> bool:
    """Whether a value is a whole number from zero up to a bound."""
    return type(value) is int and 0 <= value <= most


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_KEY


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_bin(value: Any) -> bool:
    return type(value) is int and -1 <= value < _LAST


def _or_null(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, cast("list[Any]", value)))


Fields = Mapping[str, tuple[str, Callable[[Any], bool]]]
_COUNT = ("a whole number, 0 or more", is_count)
_GROUP: Fields = {
    "ticket": _COUNT,
    "n": (f"a whole number, 0 to {MOST_ROLLOUTS}", lambda v: is_count(v, MOST_ROLLOUTS)),
    "key": (f"a text of 1 to {LONGEST_KEY:,} characters", _is_key),
    "bin": ("a bin, -1 or more", _is_bin),
    "successes": _COUNT,
}  # fmt: skip
_GROUP_MORE: Fields = {
    "predicted": ("a share from 0 to 1", _is_share),
    "rows": _COUNT,
    "gradient": ("true or false", _is_flag),
    "weight": ("a number", is_number),
    "reward": ("a number or null", _or_null(is_number)),
    "tokens": ("a number", is_number),
}
_TEXT: Fields = {"key": ("a text", _is_text), "text": ("a text", _is_text)}
_HEADER: Fields = {
    "schema": _COUNT,
    "num_prompts": _COUNT,
    "num_bins": _COUNT,
    "strategy": ("a text", _is_text),
    "options": ("a mapping", lambda v: isinstance(v, dict)),
    "difficulty": ("a mapping", lambda v: isinstance(v, dict)),
    "applied": ("true or false", _is_flag),
    "selects": ("true or false", _is_flag),
    "correct": ("a text", _is_text),
}
_DIFFICULTY: Fields = {
    "tracker": ("a text", _is_text),
    "hysteresis": ("a number", is_number),
    "decay": ("a share from 0 to 1", _is_share),
    "window": ("a whole number, 1 to 65535", lambda v: is_count(v, 65535) and v > 0),
}
_PART: Fields = {"name": ("a text", _is_text), "num_prompts": _COUNT}
_SPENT: Fields = dict.fromkeys(("rollouts", "tokens", "seconds"), ("a number", is_number))


def _check(record: Record, needed: Fields, more: Fields, where: str = "") -> None:
    for name, (what, fine) in needed.items():
        if name not in record:
            raise Fault(f"lacks {where + name!r:.80}")
        if not fine(record[name]):
            raise Fault(f"has {_said(where + name, record[name])}; it must be {what}")
    for name, (what, fine) in more.items():
        if name in record and not fine(record[name]):
            raise Fault(f"has {_said(where + name, record[name])}; it must be {what}")


def _said(name: str, value: Any) -> str:
    return f"{name!r:.80} = {value!r:.60}"


def _mapping(record: Record, name: str) -> dict[str, Any]:
    value = record.get(name)
    if not isinstance(value, dict):
        raise Fault(f"lacks {name!r}" if name not in record else f"has no mapping in {name!r}")
    return cast("dict[str, Any]", value)


def group(record: Record) -> None:
    """Raise Fault unless a record is one of `groups.jsonl`."""
    _check(record, _GROUP, _GROUP_MORE)
    if record["successes"] > record["n"]:
        raise Fault(f"has {record['successes']} successes of {record['n']}")


def text(record: Record) -> None:
    """Raise Fault unless a record is one of `prompts.jsonl` or `completions.jsonl`."""
    _check(record, _TEXT, {})


def ticket(record: Record) -> None:
    """Raise Fault unless a record has a ticket: all that rewinding a log reads."""
    _check(record, {"ticket": _COUNT}, {})


class Steps:
    """Check of the records of one `steps.jsonl`, which must have the bins of the first."""

    def __init__(self) -> None:
        self._lengths: tuple[dict[str, int], dict[str, int]] | None = None

    def __call__(self, record: Record) -> None:
        """Raise Fault unless this is a step with the bins of the ones before."""
        ticket(record)
        bins = _mapping(record, "bins")
        for name in _BINS:
            if name not in bins:
                raise Fault(f"lacks {'bins.' + name!r}")
        told = _mapping(record, "strategy") if "strategy" in record else {}
        lengths = _lengths(bins, "bins"), _lengths(told, "strategy")
        if len(set(lengths[0].values())) != 1 or min(lengths[0].values()) < 2:
            raise Fault(f"has bins of different lengths, or none: {lengths[0]!r:.120}")
        if not all(is_number(v) and v >= 0 for v in bins["prompts"]):
            raise Fault(f"has {_said('bins.prompts', bins['prompts'])}; it must be numbers, 0 or more")
        if self._lengths is None:
            self._lengths = lengths
        if lengths != self._lengths:
            raise Fault("has other bins than the first step: they are of different runs")
        _check_scalars(_mapping(record, "metrics"), "metrics")
        _check_scalars(_mapping(record, "ledger"), "ledger")


def _lengths(lists: Mapping[str, Any], where: str) -> dict[str, int]:
    for name, value in lists.items():
        if not isinstance(value, list) or not all(
            v is None or is_number(v) for v in cast("list[Any]", value)
        ):
            raise Fault(f"has {_said(f'{where}.{name}', value)}; it must be a list of numbers or nulls")
    return {name: len(value) for name, value in lists.items()}


def _check_scalars(values: Mapping[str, Any], where: str) -> None:
    """A metric may be unknown, or not finite; it is no text, list or mapping."""
    for name, value in values.items():
        if value is not None and type(value) not in (int, float):
            raise Fault(f"has {_said(f'{where}.{name}', value)}; it must be a number")


def header(record: Record) -> None:
    """Raise Fault unless this is a `run.json`."""
    _check(record, {}, _HEADER)
    difficulty = cast("dict[str, Any]", record.get("difficulty", {}))
    needed = {"window": _DIFFICULTY["window"]} if difficulty.get("tracker") == "windowed" else {}
    _check(difficulty, needed, _DIFFICULTY, "difficulty.")


def evaluation(record: Record) -> None:
    """Raise Fault unless this is an evaluation (`eval.json`, or an arm of `summary.json`)."""
    _check(record, {}, _SPENT)
    curves = record.get("curves", {})
    if not isinstance(curves, dict) or not all(map(_numbers, cast("dict[str, Any]", curves).values())):
        raise Fault("has curves that are no lists of numbers")
    slices = record.get("slices", [])
    if not isinstance(slices, list) or not all(
        isinstance(part, dict) for part in cast("list[Any]", slices)
    ):
        raise Fault("has slices that are no list of mappings")
    parts = cast("list[dict[str, Any]]", slices)
    for part in parts:
        _check(part, _PART, {}, "slices.")
    for scores in (record, *parts):
        for name, value in scores.items():
            if name.startswith(("pass@", "mean@")) and not _is_share(value):
                raise Fault(f"has {_said(name, value)}; it must be a share from 0 to 1")
            if name.startswith("ci_") and not (_numbers(value) and len(value) == 2):
                raise Fault(f"has {_said(name, value)}; it must be two numbers")


def summary(record: Record) -> None:
    """Raise Fault unless this is a `summary.json`: the base model and the arms, by the same metrics."""
    _check(record, {"recipe": ("a text", _is_text), "seed": ("a whole number", is_count)}, {})
    arms = _mapping(record, "arms")
    rows = [_mapping(record, "base"), *(_mapping(arms, name) for name in arms)]
    for row in rows:
        evaluation(row)
    metric = next((name for name in rows[0] if name.startswith("pass@")), None)
    if metric is None:
        raise Fault("has no pass@k of the base model")
    for row in rows:
        for name in (metric, metric.replace("pass", "mean"), f"ci_{metric}", "slices"):
            if name not in row:
                raise Fault(f"lacks {name!r} of the base model or of an arm")
        if any(metric not in part for part in row["slices"]):
            raise Fault(f"lacks {metric!r} in a slice")


def checked(record: Any, check: Check, where: str, error: type[GdroError] = LogError) -> Any:
    """A record that was checked.

    Args:
        record: The record.
        check: Raises Fault.
        where: File and line.
        error: Raised.

    Raises:
        GdroError: Of the class `error`: names file, line and fault.
    """
    try:
        check(record)
    except Fault as fault:
        raise error(
            f"{where} {fault}. It is no run log of gdro, or damaged: move the file away, or mend it"
        ) from fault
    return record
