"""Figures of a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.report.diagnose.replay import Spent
from gdro.report.diagnose.rewards import RewardLog
from gdro.report.figures.groups import PARTS
from gdro.report.panels import Axes, Figure, Key
from gdro.report.plots import bar_panel
from gdro.report.theme import run_colour

CLASSES = ("never", "to .1", "to .3", "to .5", "to .7", "to .9", "below 1", "always")
_EDGES = (0.1, 0.3, 0.5, 0.7, 0.9)


def class_of(rate_K: FloatArray) -> IntArray:
    """Class of each pass rate: exactly 0 and exactly 1 are classes of their own, shape (K,)."""
    inner_K = 1 + np.searchsorted(_EDGES, rate_K, side="right")
    return np.where(rate_K == 0, 0, np.where(rate_K == 1, len(CLASSES) - 1, inner_K))


def figures_of(log: RewardLog, arms: Sequence[Spent]) -> list[Figure]:
    """Every figure of a diagnosis; the first arm is the log itself."""
    return [pass_rates(log), wasted(arms), moved(log, arms)]


def pass_rates(log: RewardLog) -> Figure:
    """Histogram of measured pass rates."""
    count = np.bincount(class_of(log.rate_K), minlength=len(CLASSES))
    bars = [(CLASSES[i], "prompts", float(count[i]), None) for i in np.flatnonzero(count)]
    axes = Axes("measured pass rate", "prompts", format=",.0f")
    panel = bar_panel(f"{len(log.keys):,} prompts", bars, axes, {"prompts": run_colour(1)}, 260)
    return Figure(
        "pass_rates", "Pass rates",
        "Prompts at both ends teach nothing while they stay there: the fuller the middle, the more of "
        "the budget can be learned from.", [panel], wide=1,
    )  # fmt: skip


def wasted(arms: Sequence[Spent]) -> Figure:
    """Rollouts in groups with and without a gradient, by strategy."""
    bars = [
        (arm.name, part, float(share), None)
        for arm in arms
        for (part, _, _), share in zip(PARTS, arm.shares, strict=True)
    ]
    colours = {part: colour for part, _, colour in PARTS}
    axes = Axes("strategy", "share of rollouts", y_domain=(0, 1))
    panel = bar_panel("at the same number of rollouts", bars, axes, colours, 270)
    return Figure(
        "wasted", "Wasted rollouts",
        "Only rollouts of groups whose rewards differ (yellow) carry a gradient; `measured` is your "
        "log, the others are what each strategy would have spent on the same policy.",
        [panel], "", [Key(part, colour) for part, colour in colours.items()], wide=1,
    )  # fmt: skip


def moved(log: RewardLog, arms: Sequence[Spent]) -> Figure:
    """Rollouts and pull by class of pass rate, by strategy."""
    class_K = class_of(log.rate_K)
    present = np.unique(class_K)
    colours = {arm.name: run_colour(i) for i, arm in enumerate(arms)}
    panels = []
    for title, unit, of in (
        ("rollouts", "share of rollouts", "rollouts_K"),
        ("pull: rollouts x weight", "share of pull", "pull_K"),
    ):
        bars = []
        for arm in arms:
            mass = np.bincount(class_K, getattr(arm, of), len(CLASSES))
            share = mass / max(float(mass.sum()), 1e-300)
            bars += [(CLASSES[i], arm.name, float(share[i]), None) for i in present]
        axes = Axes("measured pass rate", unit)
        panels.append(bar_panel(title, bars, axes, colours, 270))
    return Figure(
        "moved", "Where each strategy puts the budget",
        "Prompts sorted by the pass rate that your log measured: see from which class a strategy takes "
        "rollouts or weight, and to which it gives them.",
        panels, "", [Key(name, colour) for name, colour in colours.items()], wide=2,
    )  # fmt: skip
