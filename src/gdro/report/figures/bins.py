"""Prompts, weights, rewards and rollouts by bin: heat maps over the steps, and snapshots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import Values, colours, keys, top, wide
from gdro.report.load import LoggedRun
from gdro.report.panels import Axes, Figure, Panel, bin_names, thinned
from gdro.report.plots import Bar, bar_panel, heat_panel


def share_SC(run: LoggedRun) -> FloatArray:
    """Share of each bin's prompts, NaN where it has none, shape (S, C)."""
    prompts_SC = run.bins["prompts"]
    share = prompts_SC / np.maximum(prompts_SC.sum(axis=1, keepdims=True), 1)
    return np.where(prompts_SC > 0, share, np.nan)


def weight_SC(run: LoggedRun) -> FloatArray:
    """Mean weight in each bin, shape (S, C)."""
    return run.bins["weight"]


def rollouts_SC(run: LoggedRun) -> FloatArray:
    """Mean rollouts per prompt in each bin, shape (S, C)."""
    return run.bins["rollouts"]


def share(runs: Sequence[LoggedRun]) -> Figure:
    """Prompt share by bin and step."""
    reading = (
        "Each column is a step, each row a bin: bright cells hold many of its prompts, and what starts "
        "hard wanders up as the model learns."
    )
    panels = _heat(runs, share_SC, "share of prompts")
    return Figure("share", "Prompt share by bin", reading, panels, "fig. 3", wide=wide(runs))


def weights(runs: Sequence[LoggedRun]) -> Figure:
    """Weight by bin and step."""
    reading = (
        "Purple bins pull less on the gradient than in GRPO, orange ones more; one everywhere means "
        "that the adversary leaves the weights alone."
    )
    bounds = min(0.98, *(float(np.nanmin(weight_SC(run))) for run in runs)), top(runs, weight_SC, 1.02)
    look = {"scheme": "purpleorange", "domainMid": 1}
    panels = [heat_panel(run.name, weight_SC(run), "weight", bounds, **look) for run in runs]
    return Figure("weights", "Adversary weight by bin", reading, panels, "fig. 3", wide=wide(runs))


def rewards(runs: Sequence[LoggedRun]) -> Figure:
    """Pass rate by bin and step."""
    reading = (
        "The share of right answers in each bin; rows must brighten from the bottom to the top, or the "
        "bins do not sort the prompts by difficulty."
    )
    panels = _heat(runs, lambda run: run.bins["pass_rate"], "pass rate", 1.0)
    return Figure("reward", "Reward by bin", reading, panels, "fig. 3", wide=wide(runs))


def rollouts(runs: Sequence[LoggedRun]) -> Figure:
    """Rollouts per prompt by bin and step."""
    reading = (
        "Compare with the prompt share above: bright cells are bins whose prompts get more rollouts, "
        "while every step spends the same in total."
    )
    panels = _heat(runs, rollouts_SC, "rollouts per prompt")
    return Figure("rollouts", "Rollouts per prompt by bin", reading, panels, "fig. 7", wide=wide(runs))


def snapshots(runs: Sequence[LoggedRun]) -> Figure:
    """Share, weight and rollouts by bin at four moments."""
    units = {"share of prompts": share_SC, "weight": weight_SC, "rollouts per prompt": rollouts_SC}
    panels = [panel for unit, values in units.items() for panel in _quarters(runs, unit, values)]
    reading = (
        "Means over each quarter of the run, bin by bin: from left to right, see where the prompts, the "
        "weight and the rollouts have moved."
    )
    title = "Snapshots at four moments"
    return Figure("snapshots", title, reading, panels, "fig. 5 and 9", keys(runs), wide=4)


def _quarters(runs: Sequence[LoggedRun], unit: str, values: Values) -> list[Panel]:
    """Means by bin over each quarter of the runs, one panel per quarter."""
    axes = Axes(
        "bin (0 hardest)", unit, y_domain=(0, 1.05 * top(runs, lambda run: thinned(values(run), 4)))
    )
    panels: list[Panel] = []
    for place, moment in enumerate(("first", "second", "third", "last")):
        bars: list[Bar] = []
        for run in runs:
            quarter_TC = thinned(values(run), 4)
            value_C = quarter_TC[min(place, len(quarter_TC) - 1)]
            names = bin_names(run.num_bins)
            bars += [(name, run.name, value, None) for name, value in zip(names, value_C, strict=True)]
        panels.append(bar_panel(f"{unit}, {moment} quarter", bars, axes, colours(runs), 190))
    return panels


def _heat(
    runs: Sequence[LoggedRun], values: Values, unit: str, high: float | None = None
) -> list[Panel]:
    """A heat map per run, with the same scale of colours for all."""
    bound = high if high is not None else top(runs, lambda run: thinned(values(run), 100))
    return [heat_panel(run.name, values(run), unit, (0, bound)) for run in runs]
