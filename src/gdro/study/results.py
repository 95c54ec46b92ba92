"""Effects of a study's arms against the control, on every testbed and over groups of testbeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gdro.evaluation.statistics import Effect, at_budget, holm, paired
from gdro.numerics.arrays import FloatArray
from gdro.study.config import Study, missing_placebos

Record = dict[str, Any]
Cell = dict[int, Record]
Pair = tuple[Record, Record]  # of the control and an arm, on the same seed

_HEADS = (
    "arm",
    "testbed",
    "pass@8",
    "pass@8 change, equal rollouts",
    "mean@8",
    "mean@8 change, equal rollouts",
    "Holm p",
    "equal tokens generated",
    "equal tokens in all",
    "equal optimizer steps",
    "easy mean@8, points",
    "worst slice, mean@8 points",
    "worst source, mean@8 points",
    "rollouts of spoilt prompts",
    "tail pass@8",
    "wins",
    "wrong work: fresh / replays / anchors",
    "tokens",
    "trained",
)


def cells(records: Sequence[Record]) -> dict[str, dict[str, Cell]]:
    """Records by testbed, arm and seed."""
    by_bed: dict[str, dict[str, Cell]] = {}
    for record in records:
        by_bed.setdefault(record["testbed"], {}).setdefault(record["arm"], {})[record["seed"]] = record
    return by_bed


def summarise(study: Study, records: Sequence[Record]) -> dict[str, Any]:
    """Effects of every arm, from the records of one phase.

    Returns:
        Plain data: `arms` by name, then by testbed, and by group of testbeds where it has several;
        `warnings`, sentences to be shown with the numbers.
    """
    by_bed = cells(records)
    arms: dict[str, dict[str, Any]] = {}
    for arm in study.arms:
        if arm == study.control:
            continue
        pairs = {bed: _pairs(of[study.control], of[arm]) for bed, of in by_bed.items() if arm in of}
        arms[arm] = {bed: _compared({bed: own}) for bed, own in pairs.items()}
        for group in groups(study):
            inside = {bed: pairs[bed] for bed in pairs if study.testbeds[bed].group == group}
            if len(inside) > 1:
                arms[arm][group] = _compared(inside)
    _adjust(arms)
    control = {bed: _level(list(of[study.control].values())) for bed, of in by_bed.items()}
    return {
        "study": study.name,
        "control": study.control,
        "groups": groups(study),
        "warnings": _warnings(study),
        "arms": arms,
        "control_by_testbed": control,
    }


def _warnings(study: Study) -> list[str]:
    missing = missing_placebos(study)
    if not missing:
        return []
    added = " and ".join(f"one with strategy: {strategy}" for strategy in missing.values())
    return [
        f"No {' and no '.join(missing)} arm: unequal weights and groups have an effect by themselves, "
        f"which this study cannot separate from the effect of the strategy; add {added}."
    ]


def groups(study: Study) -> list[str]:
    """Groups of testbeds, in the order of the study."""
    return list(dict.fromkeys(bed.group for bed in study.testbeds.values()))


def _pairs(control: Cell, arm: Cell) -> list[Pair]:
    return [(control[seed], arm[seed]) for seed in sorted(arm) if seed in control]


def _compared(pairs_by_bed: Mapping[str, list[Pair]]) -> dict[str, Any]:
    """Effects on one or several testbeds; a seed's effect is the mean over the testbeds it ran on."""
    pairs = [pair for own in pairs_by_bed.values() for pair in own]
    by_seed: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_seed.setdefault(pair[0]["seed"], []).append(pair)

    def effect(of: Callable[[Record, Record], float]) -> Effect:
        return paired(np.array([_mean(own, of) for own in by_seed.values()], np.float64))

    rel, easy = effect(_relative), effect(lambda a, b: _difference(a, b, "easy_mean8"))
    summary = {
        "pass8_rel_mean": rel.mean,
        "ci_low": rel.low,
        "ci_high": rel.high,
        "p": rel.p_value,
        "wins": rel.wins,
        "seeds": sorted(by_seed),
        "equal_tokens": asdict(effect(lambda a, b: _equal(a, b, ("tokens",)))),
        "equal_all_tokens": asdict(effect(lambda a, b: _equal(a, b, ("tokens", "trained")))),
        **_of_updates(pairs, effect),
        "mean8_rel": asdict(effect(lambda a, b: _relative(a, b, "mean8"))),
        "mean8_easy_delta": easy.mean,
        "easy": asdict(easy),
    }
    if len(pairs_by_bed) == 1:  # testbeds of a group may have different sources
        summary["tail_pass8_rel"] = _mean(pairs, lambda a, b: _ratio(a, b, "tail_pass8"))
        summary["worst_slice"] = _worst(pairs)
        summary |= _worst_source(pairs)
    summary["worst_slice_mean8"] = _worst_slice(list(by_seed.values()))
    return summary | _level([arm for _, arm in pairs])


def _of_updates(pairs: list[Pair], effect: Callable[..., Effect]) -> dict[str, Any]:
    """The change at equal optimiser steps, which records of older studies do not have."""
    if not all("updates" in record for pair in pairs for record in pair):
        return {}
    return {"equal_updates": asdict(effect(lambda a, b: _equal(a, b, ("updates",))))}


def _worst_source(pairs: list[Pair]) -> dict[str, Any]:
    """The source with the lowest change of mean@8 in points, where runs have sources."""
    pairs = [(a, b) for a, b in pairs if a.get("sources") and b.get("sources")]
    changes = {
        name: _mean(
            [(a["sources"][name], b["sources"][name]) for a, b in pairs],
            lambda a, b: _difference(a, b, "mean8"),
        )
        for name in (pairs[0][0]["sources"] if pairs else ())
    }
    if not changes:
        return {}
    name = min(changes, key=lambda key: changes[key])
    return {"worst_source": {"source": name, "points": changes[name]}}


def _level(records: list[Record]) -> dict[str, float]:
    """Means over runs."""
    names = ("pass8", "mean8", "rollouts", "tokens", "trained", "discarded", "recalled", "tail_share")
    means = {name: float(np.mean([r[name] for r in records])) for name in names}
    spoilt = [r["spoilt_share"] for r in records if r.get("spoilt_share") is not None]
    return means | ({"spoilt_share": float(np.mean(spoilt))} if spoilt else {}) | _luck(records)


def _luck(records: list[Record]) -> dict[str, float]:
    """Shares of correct answers with wrong work, fresh and recalled, of the kinds that occurred."""
    counted = [record["luck"] for record in records if "luck" in record]
    totals = {kind: sum(luck[kind] for luck in counted) for kind in ("fresh", "replays", "anchors")}
    return {
        f"{kind}_luck": sum(luck[f"{kind}_wrong"] for luck in counted) / total
        for kind, total in totals.items()
        if total
    }


def _mean(pairs: Sequence[Pair], of: Callable[[Record, Record], float]) -> float:
    return float(np.mean([of(a, b) for a, b in pairs]))


def _relative(control: Record, arm: Record, metric: str = "pass8") -> float:
    """Relative change at equal rollouts; where the arms spent different numbers, read off the curves."""
    budget = min(control["rollouts"], arm["rollouts"])
    if control["rollouts"] == arm["rollouts"]:
        return arm[metric] / control[metric] - 1.0
    spent = ("rollouts",)
    return _at(arm, spent, budget, metric) / _at(control, spent, budget, metric) - 1.0


def _equal(control: Record, arm: Record, spent: tuple[str, ...]) -> float:
    """Relative change of pass@8 at the smaller of the two budgets."""
    budget = min(sum(r[name] for name in spent) for r in (control, arm))
    return _at(arm, spent, budget) / _at(control, spent, budget) - 1.0


def _at(record: Record, spent: tuple[str, ...], budget: float, metric: str = "pass8") -> float:
    points = record["curve"]
    used: FloatArray = np.array([sum(p[name] for name in spent) for p in points], np.float64)
    return at_budget(used.tolist(), [p[metric] for p in points], budget)


def _difference(control: Record, arm: Record, name: str) -> float:
    """Difference in percentage points; zero where the slice is empty."""
    if control[name] is None or arm[name] is None:
        return 0.0
    return 100.0 * (arm[name] - control[name])


def _ratio(control: Record, arm: Record, name: str) -> float:
    if not control[name] or arm[name] is None:
        return 0.0
    return arm[name] / control[name] - 1.0


def _worst(pairs: list[Pair]) -> dict[str, Any]:
    """The slice of base difficulty with the lowest change of pass@8, in percentage points."""
    changes = {
        name: _mean(pairs, lambda a, b, name=name: _difference(a, b, f"{name}_pass8"))
        for name in ("tail", "middle", "easy")
    }
    name = min(changes, key=lambda key: changes[key])
    return {"slice": name, "points": changes[name]}


def _worst_slice(pairs_by_seed: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """As `_worst` for mean@8, averaged per seed; slices that are empty everywhere are ignored."""
    changes: dict[str, float] = {}
    for name in ("tail", "middle", "easy"):
        key = f"{name}_mean8"
        if any(a[key] is not None for pairs in pairs_by_seed for a, _ in pairs):
            of_seed = [_mean(own, lambda a, b, key=key: _difference(a, b, key)) for own in pairs_by_seed]
            changes[name] = float(np.mean(of_seed))
    name = min(changes, key=lambda key: changes[key])
    return {"slice": name, "points": changes[name]}


def _adjust(arms: dict[str, dict[str, Any]]) -> None:
    """Holm's correction over the arms of each testbed, in place."""
    for bed in {bed for by_bed in arms.values() for bed in by_bed}:
        given = {arm: by_bed[bed]["p"] for arm, by_bed in arms.items() if bed in by_bed}
        for arm, value in holm(given).items():
            arms[arm][bed]["p_holm"] = value


def table(summary: dict[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of the study's table."""
    rows: list[list[str]] = []
    for bed, level in summary["control_by_testbed"].items():
        first = [summary["control"], bed, f"{level['pass8']:.3f}", "", f"{level['mean8']:.3f}"]
        last = [_luck_cell(level), f"{level['tokens']:,.0f}", f"{level['trained']:,.0f}"]
        rows.append([*first, *[""] * 8, _spoilt_cell(level), "", "", *last])
    for arm, by_bed in summary["arms"].items():
        rows += [[arm, bed, *_effect_cells(row)] for bed, row in by_bed.items()]
    return _HEADS, rows


def _effect_cells(row: dict[str, Any]) -> list[str]:
    easy, worst = row["easy"], row["worst_slice_mean8"]
    return [
        f"{row['pass8']:.3f}",
        _interval(row, "pass8_rel_mean", "ci_low", "ci_high"),
        f"{row['mean8']:.3f}",
        _interval(row["mean8_rel"]),
        f"{row['p_holm']:.3f}",
        _interval(row["equal_tokens"]),
        _interval(row["equal_all_tokens"]),
        _interval(row["equal_updates"]) if "equal_updates" in row else "",
        f"{easy['mean']:+.1f} ({easy['low']:+.1f} to {easy['high']:+.1f})",
        f"{worst['slice']} {worst['points']:+.1f}",
        f"{source['source']} {source['points']:+.1f}" if (source := row.get("worst_source")) else "",
        _spoilt_cell(row),
        f"{row['tail_pass8_rel']:+.1%}" if "tail_pass8_rel" in row else "",
        f"{row['wins']}/{len(row['seeds'])}",
        _luck_cell(row),
        f"{row['tokens']:,.0f}",
        f"{row['trained']:,.0f}",
    ]


def _spoilt_cell(row: dict[str, Any]) -> str:
    """Rollouts of spoilt prompts over their share of the pool: 1 is a fair share."""
    return f"{row['spoilt_share']:.2f}x" if "spoilt_share" in row else ""


def _luck_cell(row: dict[str, Any]) -> str:
    names = ("fresh_luck", "replays_luck", "anchors_luck")
    return " / ".join(f"{row[name]:.0%}" if name in row else "-" for name in names)


def _interval(row: dict[str, Any], mean: str = "mean", low: str = "low", high: str = "high") -> str:
    return f"{row[mean]:+.1%} ({row[low]:+.1%} to {row[high]:+.1%})"


def markdown(summary: dict[str, Any]) -> str:
    """The warnings, then the table, in Markdown."""
    heads, rows = table(summary)
    lines = [heads, ["---"] * len(heads), *rows]
    warnings = [f"**{warning}**\n" for warning in summary["warnings"]]
    return "\n".join([*warnings, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"
