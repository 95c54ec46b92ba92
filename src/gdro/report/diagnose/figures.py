"""Figures of a diagnosis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.report.diagnose.replay import ReplayCost
from gdro.report.diagnose.rewards import RewardLog
from gdro.report.figures.common import plain_keys
from gdro.report.figures.groups import PARTS
from gdro.report.panels import Axes, Figure, Panel
from gdro.report.plots import Bar, bar_panel
from gdro.report.theme import run_colour

CLASSES = ("never", "to .1", "to .3", "to .5", "to .7", "to .9", "below 1", "always")
_EDGES = (0.1, 0.3, 0.5, 0.7, 0.9)


def class_of(rate_K: FloatArray) -> IntArray:
    """Class of each pass rate: exactly 0 and exactly 1 are classes of their own, shape (K,)."""
    inner_K = 1 + np.searchsorted(_EDGES, rate_K, side="right")
    return np.where(rate_K == 0, 0, np.where(rate_K == 1, len(CLASSES) - 1, inner_K))


def figures_of(log: RewardLog, arms: Sequence[ReplayCost]) -> list[Figure]:
    """Every figure of a diagnosis; the first arm is the log itself."""
    return [pass_rates(log), wasted(arms, bool(log.capped)), spread(log, arms)]


def pass_rates(log: RewardLog) -> Figure:
    """Histogram of measured pass rates."""
    count = np.bincount(class_of(log.rate_K), minlength=len(CLASSES))
    bars: list[Bar] = [(CLASSES[i], "prompts", float(count[i]), None) for i in np.flatnonzero(count)]
    axes = Axes("measured pass rate", "prompts", format=",.0f")
    panel = bar_panel(f"{len(log.keys):,} prompts", bars, axes, {"prompts": run_colour(1)}, 260)
    reading = (
        "Prompts at both ends teach nothing while they stay there: the fuller the middle, the more of "
        "the budget can be learned from."
    )
    return Figure("pass_rates", "Pass rates", reading, [panel], wide=1)


def wasted(arms: Sequence[ReplayCost], capped: bool) -> Figure:
    """Rollouts in groups with and without a gradient, by strategy; a capped trial has fewer."""
    colours = {part: colour for part, _, colour in PARTS}
    bars: list[Bar] = [
        (arm.name, part, float(share), None)
        for arm in arms
        for part, share in zip(colours, arm.shares, strict=True)
    ]
    axes = Axes("strategy", "share of rollouts", y_domain=(0, 1))
    title = "of the log, and of a smaller trial" if capped else "at the same number of rollouts"
    panel = bar_panel(title, bars, axes, colours, 270)
    reading = (
        "Only rollouts of groups whose rewards differ (yellow) carry a gradient; `measured` is your "
        "log, the others are what each strategy would have spent on the same policy."
    )
    return Figure("wasted", "Wasted rollouts", reading, [panel], keys=plain_keys(colours), wide=1)


def spread(log: RewardLog, arms: Sequence[ReplayCost]) -> Figure:
    """Rollouts and pull by class of pass rate, by strategy."""
    class_K = class_of(log.rate_K)
    colours = {arm.name: run_colour(i) for i, arm in enumerate(arms)}

    def panel(title: str, unit: str, of_arm: Callable[[ReplayCost], FloatArray | IntArray]) -> Panel:
        bars: list[Bar] = []
        for arm in arms:
            mass = np.bincount(class_K, of_arm(arm), len(CLASSES))
            share = mass / max(float(mass.sum()), 1e-300)
            bars += [(CLASSES[i], arm.name, float(share[i]), None) for i in np.unique(class_K)]
        return bar_panel(title, bars, Axes("measured pass rate", unit), colours, 270)

    panels = [
        panel("rollouts", "share of rollouts", lambda arm: arm.rollouts_K),
        panel("pull: rollouts x weight", "share of pull", lambda arm: arm.pull_K),
    ]
    reading = (
        "Prompts sorted by the pass rate that your log measured: see from which class a strategy takes "
        "rollouts or weight, and to which it gives them; the pull, rollouts x weight, is where the "
        "gradient comes from."
    )
    title, legend = "Where each strategy puts the budget", plain_keys(colours)
    return Figure("moved", title, reading, panels, keys=legend, wide=2)
