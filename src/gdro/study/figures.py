"""Figures of a study: a forest plot of the effects, and learning curves on two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gdro.report.figures import COLOURS, Drawn, label
from gdro.study.results import Record, cells


def forests(summary: dict[str, Any]) -> list[Drawn]:
    """Relative change of pass@8 with intervals: by group of testbeds if any, and by testbed."""
    arms = summary["arms"]
    groups = [group for group in summary["groups"] if any(group in found for found in arms.values())]
    drawn = [_forest("overview", "What each arm changes", summary, groups)] if groups else []
    beds = [*summary["control_by_testbed"]]
    return [*drawn, _forest("forest", "What each arm changes, by testbed", summary, beds)]


def _forest(name: str, title: str, summary: dict[str, Any], beds: list[str]) -> Drawn:
    arms = _best_first(summary["arms"], beds)
    figure = Figure(figsize=(3.2 * len(beds) + 2.0, 0.34 * len(arms) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(beds), sharey=True, squeeze=False)[0]
    for axes, bed in zip(panels, beds, strict=True):
        for place, (arm, found) in enumerate(arms.items()):
            if bed not in found:
                continue
            row = found[bed]
            low, high = 100 * row["ci_low"], 100 * row["ci_high"]
            colour = COLOURS[0] if low <= 0 <= high else COLOURS[1 if low > 0 else 2]
            axes.plot([low, high], [place, place], color=colour, lw=2)
            axes.plot(100 * row["pass8_rel_mean"], place, "o", color=colour, label=arm)
        axes.axvline(0, color="#222222", lw=0.8)
        axes.set_yticks(range(len(arms)), list(arms))
        axes.set_ylim(len(arms) - 0.5, -0.5)
        label(axes, bed, "change of pass@8, %", "")
    return Drawn(
        name, title,
        f"Against {summary['control']}, paired by seed, at equal rollouts; 95% bootstrap intervals. "
        "Blue: better, orange: worse, grey: not distinguishable.", figure,
    )  # fmt: skip


def _best_first(arms: dict[str, Any], beds: list[str]) -> dict[str, Any]:
    """Arms by their mean effect on the testbeds that all of them have."""
    arms = {arm: found for arm, found in arms.items() if any(bed in found for bed in beds)}
    shared = [bed for bed in beds if all(bed in found for found in arms.values())]
    effect = {arm: sum(found[bed]["pass8_rel_mean"] for bed in shared) for arm, found in arms.items()}
    return dict(sorted(arms.items(), key=lambda item: -effect[item[0]]))


def curves(summary: dict[str, Any], records: Sequence[Record]) -> Drawn:
    """Mean pass@8 over seeds against rollouts and against generated tokens, by testbed."""
    found = cells(records)
    axes_names = {"rollouts": "rollouts, thousands", "tokens": "tokens generated, thousands"}
    figure = Figure(figsize=(4.2 * len(found) + 1.5, 6.8), layout="constrained")
    panels = figure.subplots(2, len(found), squeeze=False)
    for column, (bed, by_arm) in enumerate(found.items()):
        for row, (name, text) in enumerate(axes_names.items()):
            axes = panels[row][column]
            for number, (arm, by_seed) in enumerate(by_arm.items()):
                runs = list(by_seed.values())
                spent = np.mean([[p[name] for p in r["curve"]] for r in runs], axis=0) / 1e3
                value = np.mean([[p["pass8"] for p in r["curve"]] for r in runs], axis=0)
                control = arm == summary["control"]
                colour = "#222222" if control else COLOURS[number % len(COLOURS)]
                width, line = (2.4 if control else 1.2), ("-" if number < len(COLOURS) else "--")
                axes.plot(spent, value, label=arm, color=colour, lw=width, ls=line)
            label(axes, bed if row == 0 else "", text, "held-out pass@8")
    panels[0][0].legend(fontsize=7, frameon=False)
    return Drawn(
        "curves", "Learning curves",
        "Means over seeds; the control is black. Discarded rollouts count.", figure,
    )  # fmt: skip
