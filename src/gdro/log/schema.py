"""Contents of the records of a run log, checked as they are read: errors name the file and the line.

Readers may rely on these checks: counts are whole, no number is above 1e18 in size, and lists that
belong together have the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from gdro.common.schema import Fault, Record, is_count, is_number
from gdro.errors import GdroError, LogError

Check = Callable[[Record], None]
Kind = tuple[str, Callable[[Any], bool]]
Fields = Mapping[str, Kind]

MOST_ROLLOUTS = 1 << 14
"""Most rollouts of one group: a few bytes could claim more, and readers allocate memory for them."""
LONGEST_KEY = 1 << 14


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, cast("list[Any]", value)))


_COUNT: Kind = ("a whole number, 0 or more", is_count)
_NUMBER: Kind = ("a number", is_number)
_NUMBER_OR_NULL: Kind = ("a number or null", lambda v: v is None or is_number(v))
_SHARE: Kind = ("a share from 0 to 1", _is_share)
_TEXT: Kind = ("a text", lambda v: isinstance(v, str))
_FLAG: Kind = ("true or false", lambda v: isinstance(v, bool))
_MAPPING: Kind = ("a mapping", lambda v: isinstance(v, dict))
_BIN: Kind = ("a bin, -1 or more", lambda v: v == -1 or is_count(v))
_ROLLOUTS: Kind = (f"a whole number, 0 to {MOST_ROLLOUTS}", lambda v: is_count(v, MOST_ROLLOUTS))
_WINDOW: Kind = ("a whole number, 1 to 65535", lambda v: is_count(v, 65535) and v > 0)
_KEY: Kind = (
    f"a text of 1 to {LONGEST_KEY:,} characters",
    lambda v: isinstance(v, str) and 0 < len(v) <= LONGEST_KEY,
)

_GROUP: Fields = {
    "ticket": _COUNT,
    "n": _ROLLOUTS,
    "key": _KEY,
    "bin": _BIN,
    "successes": _COUNT,
    "predicted": _SHARE,
    "rows": _COUNT,
    "gradient": _FLAG,
    "weight": _NUMBER,
    "reward": _NUMBER_OR_NULL,
    "tokens": _NUMBER,
}
_HEADER: Fields = {
    "schema": _COUNT,
    "num_prompts": _COUNT,
    "num_bins": _COUNT,
    "strategy": _TEXT,
    "options": _MAPPING,
    "difficulty": _MAPPING,
    "applied": _FLAG,
    "selects": _FLAG,
}
_DIFFICULTY: Fields = {"tracker": _TEXT, "hysteresis": _NUMBER, "decay": _SHARE, "window": _WINDOW}
_PART: Fields = {"name": _TEXT, "num_prompts": _COUNT}
_SPENT: Fields = {"rollouts": _NUMBER, "tokens": _NUMBER, "seconds": _NUMBER}
_BINS = ("prompts", "rollouts", "weight", "pass_rate")


def _check(record: Record, fields: Fields, needed: bool = True, where: str = "") -> None:
    for name, (kind, fits) in fields.items():
        if name not in record:
            if needed:
                raise Fault(f"lacks {where + name!r:.80}")
        elif not fits(record[name]):
            raise Fault(f"has {_item(where + name, record[name])}; it must be {kind}")


def _item(name: str, value: Any) -> str:
    return f"{name!r:.80} = {value!r:.60}"


def _mapping(record: Record, name: str) -> dict[str, Any]:
    value = record.get(name)
    if not isinstance(value, dict):
        raise Fault(f"lacks {name!r}" if name not in record else f"has no mapping in {name!r}")
    return cast("dict[str, Any]", value)


def group(record: Record) -> None:
    """Raise Fault unless a record is one of `groups.jsonl`."""
    _check(record, _GROUP)
    if record["successes"] > record["n"]:
        raise Fault(f"has {record['successes']} successes of {record['n']}")


def text(record: Record) -> None:
    """Raise Fault unless a record is one of `prompts.jsonl` or `completions.jsonl`."""
    _check(record, {"key": _TEXT, "text": _TEXT})
    if not isinstance(record.get("source", ""), str):
        raise Fault(f"has source = {record['source']!r:.60}; it must be text")


def ticket(record: Record) -> None:
    """Raise Fault unless a record has a ticket, which is all that rewinding a log reads."""
    _check(record, {"ticket": _COUNT})


class StepSequence:
    """Check of the records of one `steps.jsonl`, which must all have the bins of the first."""

    def __init__(self) -> None:
        self._lengths: tuple[dict[str, int], dict[str, int]] | None = None

    def __call__(self, record: Record) -> None:
        """Raise Fault unless this is a step with the bins of the steps before."""
        ticket(record)
        bins = _mapping(record, "bins")
        for name in _BINS:
            if name not in bins:
                raise Fault(f"lacks {'bins.' + name!r}")
        strategy = _mapping(record, "strategy") if "strategy" in record else {}
        lengths = _lengths(bins, "bins"), _lengths(strategy, "strategy")
        if len(set(lengths[0].values())) != 1 or min(lengths[0].values()) < 2:
            raise Fault(f"has bins of different lengths, or none: {lengths[0]!r:.120}")
        if not all(is_number(v) and v >= 0 for v in bins["prompts"]):
            raise Fault(f"has {_item('bins.prompts', bins['prompts'])}; it must be numbers, 0 or more")
        if self._lengths is None:
            self._lengths = lengths
        if lengths != self._lengths:
            raise Fault("has other bins than the first step: they are of different runs")
        _check_scalars(_mapping(record, "metrics"), "metrics")
        _check_scalars(_mapping(record, "ledger"), "ledger")


def _lengths(lists: Mapping[str, Any], where: str) -> dict[str, int]:
    for name, value in lists.items():
        if not isinstance(value, list) or not all(map(_NUMBER_OR_NULL[1], cast("list[Any]", value))):
            raise Fault(f"has {_item(f'{where}.{name}', value)}; it must be a list of numbers or nulls")
    return {name: len(value) for name, value in lists.items()}


def _check_scalars(values: Mapping[str, Any], where: str) -> None:
    """A metric may be unknown or not finite, but not a text, list or mapping."""
    for name, value in values.items():
        if value is not None and type(value) not in (int, float):
            raise Fault(f"has {_item(f'{where}.{name}', value)}; it must be a number")


def header(record: Record) -> None:
    """Raise Fault unless a record is a `run.json`."""
    _check(record, _HEADER)
    _check(record, {"correct": _TEXT}, needed=False)
    _check(record["difficulty"], _DIFFICULTY, where="difficulty.")


def evaluation(record: Record) -> None:
    """Raise Fault unless a record is an evaluation (`eval.json`, or an arm of `summary.json`)."""
    _check(record, _SPENT, needed=False)
    curves = record.get("curves", {})
    if not isinstance(curves, dict) or not all(
        map(_are_numbers, cast("dict[str, Any]", curves).values())
    ):
        raise Fault("has curves that are not lists of numbers")
    slices = record.get("slices", [])
    parts = cast("list[dict[str, Any]]", slices if isinstance(slices, list) else [None])
    if not all(isinstance(part, dict) for part in parts):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Fault("has slices that are not a list of mappings")
    for part in parts:
        _check(part, _PART, where="slices.")
    for scores in (record, *parts):
        for name, value in scores.items():
            if name.startswith(("pass@", "mean@")) and not _is_share(value):
                raise Fault(f"has {_item(name, value)}; it must be a share from 0 to 1")
            if name.startswith("ci_") and not (_are_numbers(value) and len(value) == 2):
                raise Fault(f"has {_item(name, value)}; it must be two numbers")


def summary(record: Record) -> None:
    """Raise Fault unless a record is a `summary.json`: base model and arms with the same metrics."""
    _check(record, {"recipe": _TEXT, "seed": ("a whole number", is_count)})
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
    """A record that passed its check, else an `error` that names file, line (`where`) and fault."""
    try:
        check(record)
    except Fault as fault:
        raise error(
            f"{where} {fault}. It is not a run log of gdro, or it is damaged: move the file away, or "
            "repair it"
        ) from fault
    return record
