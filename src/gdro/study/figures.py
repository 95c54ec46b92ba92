"""Figures of a study: a forest plot of the effects, and learning curves on two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.report.panels import Axes, Figure, Key, Panel, Series, rounded
from gdro.report.plots import line_panel
from gdro.report.theme import SOFT, TEXT, run_colour
from gdro.study.results import Record, cells

NUM_BEST = 5  # more curves cannot be distinguished in one figure
_VERDICTS = {"better": run_colour(1), "worse": run_colour(2), "not distinguishable": run_colour(0)}


def forests(summary: dict[str, Any]) -> list[Figure]:
    """Relative change of pass@8 and mean@8 with intervals: by group of testbeds if any, and by testbed.

    The overview shows the groups on which several arms ran; if there is only one, also the best arm by
    testbed.
    """
    beds = [*summary["control_by_testbed"]]
    by_bed = _by_arm(summary, beds)
    panels = [_effects(bed, by_arm, metric) for metric in _METRICS for bed, by_arm in by_bed.items()]
    drawn = [_forest("forest", "What each arm changes, by testbed", summary, panels, len(by_bed))]
    by_group = _by_arm(summary, summary["groups"])
    if by_group:
        compared = {group: by_arm for group, by_arm in by_group.items() if len(by_arm) > 1}
        panels = [_effects(group, by_arm, m) for group, by_arm in compared.items() for m in _METRICS]
        if len(compared) < 2:
            best = next(iter(next(iter(by_group.values()))))
            rows = {bed: by_arm[best] for bed, by_arm in by_bed.items() if best in by_arm}
            panels.append(_effects(f"{best}, by testbed", rows, "pass@8"))
        drawn.insert(0, _forest("overview", "What each arm changes", summary, panels))
    return drawn


def _by_arm(summary: dict[str, Any], beds: list[str]) -> dict[str, dict[str, Any]]:
    """Results of the arms that ran on each testbed or group, the best arm first."""
    arms = _best_first(summary["arms"], beds)
    by_bed = {bed: {arm: of[bed] for arm, of in arms.items() if bed in of} for bed in beds}
    return {bed: by_arm for bed, by_arm in by_bed.items() if by_arm}


def _forest(
    name: str, title: str, summary: dict[str, Any], panels: list[Panel], wide: int = 2
) -> Figure:
    reading = (
        f"Compared with {summary['control']}, paired by seed, at equal rollouts: an arm differs if its "
        "95% bootstrap interval excludes zero."
    )
    keys = [Key(name, colour) for name, colour in _VERDICTS.items()]
    return Figure(name, title, reading, panels, "", keys, wide)


def _pass8(row: dict[str, Any]) -> tuple[float, float, float]:
    return row["pass8_rel_mean"], row["ci_low"], row["ci_high"]


def _mean8(row: dict[str, Any]) -> tuple[float, float, float]:
    return row["mean8_rel"]["mean"], row["mean8_rel"]["low"], row["mean8_rel"]["high"]


_METRICS = {"pass@8": _pass8, "mean@8": _mean8}


def _effects(title: str, rows: dict[str, Any], metric: str) -> Panel:
    """A point and an interval for each row, in their order."""
    order, effects = list(rows), [_METRICS[metric](row) for row in rows.values()]
    columns = {
        "arm": order,
        "effect": rounded(100 * mean for mean, _, _ in effects),
        "low": rounded(100 * low for _, low, _ in effects),
        "high": rounded(100 * high for _, _, high in effects),
        "verdict": [
            "not distinguishable" if low <= 0 <= high else "better" if low > 0 else "worse"
            for _, low, high in effects
        ],
    }
    unit = f"change of {metric}, %"
    heads = {"arm": "arm", "effect": unit, "low": "95% low", "high": "95% high", "verdict": "verdict"}
    x = {"type": "quantitative", "title": unit, "axis": {"tickCount": 5}, "scale": {"zero": True}}
    tooltip = [{"field": "arm", "type": "nominal", "title": "arm"}]
    tooltip += [
        {"field": k, "type": "quantitative", "title": heads[k], "format": "+.2f"}
        for k in ("effect", "low", "high")
    ]
    arm = {"field": "arm", "type": "nominal", "sort": order, "title": None, "scale": {"domain": order}}
    colours = {"domain": list(_VERDICTS), "range": list(_VERDICTS.values())}
    verdict = {"field": "verdict", "type": "nominal", "title": None, "scale": colours}
    ends = {"x": {**x, "field": "low"}, "x2": {"field": "high"}}
    mean = {"x": {**x, "field": "effect"}}
    spec = {
        "encoding": {
            "y": {**arm, "axis": {"labelLimit": 190, "grid": True}},
            "color": verdict,
            "tooltip": tooltip,
        },
        "layer": [
            _zero(),
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": ends},
            {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": mean},
        ],
    }
    return Panel(title, spec, columns, heads, 70 + 19 * len(order))


def _zero() -> dict[str, Any]:
    """A line at no change."""
    place = {"x": {"datum": 0, "type": "quantitative"}, "y": {"value": 0}, "y2": {"value": "height"}}
    encoding = {**place, "color": {"value": SOFT}, "tooltip": {"value": None}}
    return {"mark": {"type": "rule", "aria": False}, "data": {"values": [{}]}, "encoding": encoding}


def _best_first(arms: dict[str, Any], beds: list[str]) -> dict[str, Any]:
    """Arms sorted by their mean effect on the testbeds that all of them ran on."""
    arms = {arm: by_bed for arm, by_bed in arms.items() if any(bed in by_bed for bed in beds)}
    shared = [bed for bed in beds if all(bed in by_bed for by_bed in arms.values())]
    effect = {arm: sum(of[bed]["pass8_rel_mean"] for bed in shared) for arm, of in arms.items()}
    return dict(sorted(arms.items(), key=lambda item: -effect[item[0]]))


def curves(summary: dict[str, Any], records: Sequence[Record]) -> list[Figure]:
    """Mean pass@8 over seeds against rollouts and tokens, by testbed: of the best arms, and of all."""
    by_bed, control = cells(records), summary["control"]
    ranked = list(_best_first(summary["arms"], summary["groups"] or list(by_bed)))
    drawn = [_learning("curves", "Learning curves", by_bed, control)]
    names = (control, *ranked[:NUM_BEST])
    best = {bed: {a: of[a] for a in names} for bed, of in by_bed.items() if of.keys() >= set(names)}
    if best and len(ranked) > NUM_BEST:
        drawn.insert(0, _learning("curves_best", "Learning curves of the best arms", best, control))
    return drawn


def _learning(name: str, title: str, by_bed: dict[str, Any], control: str) -> Figure:
    names = list(dict.fromkeys(arm for by_arm in by_bed.values() for arm in by_arm))
    panels = [
        _curves(bed, by_arm, names, control, axis)
        for axis in ("rollouts", "tokens")
        for bed, by_arm in by_bed.items()
    ]
    reading = "Means over seeds; the control is the darkest line; discarded rollouts are counted."
    keys = [Key(arm, *_look(arm, names, control)) for arm in names]
    return Figure(name, title, reading, panels, "", keys, wide=len(by_bed))


def _look(arm: str, names: list[str], control: str) -> tuple[str, Sequence[int]]:
    """Colour and dashes of an arm, the same in every panel."""
    if arm == control:
        return TEXT, (1, 0)
    number = [name for name in names if name != control].index(arm)
    return run_colour(1 + number % 6), ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))[number // 6 % 4]


def _curves(bed: str, by_arm: dict[str, Any], names: list[str], control: str, axis: str) -> Panel:
    lines: list[Series] = []
    for arm, by_seed in by_arm.items():
        runs = list(by_seed.values())
        spent = np.mean([[p[axis] for p in r["curve"]] for r in runs], axis=0) / 1e3
        value = np.mean([[p["pass8"] for p in r["curve"]] for r in runs], axis=0)
        lines.append(Series(arm, spent, value, *_look(arm, names, control)))
    unit = "rollouts, thousands" if axis == "rollouts" else "tokens generated, thousands"
    return line_panel(bed, lines, Axes(unit, "held-out pass@8"))
