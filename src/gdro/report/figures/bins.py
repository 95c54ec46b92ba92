"""Prompts, weights, rewards and rollouts by bin: heat maps over the steps, and snapshots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import Values, colours, keys, top, wide
from gdro.report.load import Run
from gdro.report.panels import Axes, Figure, bin_names, thinned
from gdro.report.plots import bar_panel, heat_panel


def share_SC(run: Run) -> FloatArray:
    """Share of each bin's prompts, NaN where it has none, shape (S, C)."""
    prompts_SC = run.bins["prompts"]
    share = prompts_SC / np.maximum(prompts_SC.sum(axis=1, keepdims=True), 1)
    return np.where(prompts_SC > 0, share, np.nan)


def share(runs: Sequence[Run]) -> Figure:
    """Prompt share by bin and step."""
    reading = (
        "Each column is a step, each row a bin: bright cells hold many of its prompts, and what starts "
        "hard wanders up as the model learns."
    )
    return _heat(runs, "share", "Prompt share by bin", reading, share_SC, "share of prompts", "fig. 3")


def weights(runs: Sequence[Run]) -> Figure:
    """Weight by bin and step."""
    reading = (
        "Purple bins pull less on the gradient than in GRPO, orange ones more; one everywhere means "
        "that the adversary leaves the weights alone."
    )
    high = top(runs, lambda run: run.bins["weight"], 1.02)
    low = min(0.98, *(float(np.nanmin(run.bins["weight"])) for run in runs))
    panels = [
        heat_panel(run.name, run.bins["weight"], "weight", (low, high), diverging=True) for run in runs
    ]
    return Figure("weights", "Adversary weight by bin", reading, panels, "fig. 3", wide=wide(runs))


def rewards(runs: Sequence[Run]) -> Figure:
    """Pass rate by bin and step."""
    reading = (
        "The share of right answers in each bin; rows must brighten from the bottom to the top, or the "
        "bins do not sort the prompts by difficulty."
    )
    return _heat(
        runs, "reward", "Reward by bin", reading, lambda run: run.bins["pass_rate"], "pass rate",
        "fig. 3", 1.0,
    )  # fmt: skip


def rollouts(runs: Sequence[Run]) -> Figure:
    """Rollouts per prompt by bin and step."""
    reading = (
        "Compare with the prompt share above: bright cells are bins whose prompts get more rollouts, "
        "while every step spends the same in total."
    )
    return _heat(
        runs, "rollouts", "Rollouts per prompt by bin", reading, lambda run: run.bins["rollouts"],
        "rollouts per prompt", "fig. 7",
    )  # fmt: skip


def snapshots(runs: Sequence[Run]) -> Figure:
    """Share, weight and rollouts by bin at four moments."""
    moments = ("first quarter", "second quarter", "third quarter", "last quarter")
    values: list[tuple[str, Values]] = [
        ("share of prompts", share_SC),
        ("weight", lambda run: run.bins["weight"]),
        ("rollouts per prompt", lambda run: run.bins["rollouts"]),
    ]
    panels = []
    for unit, of in values:
        high = 1.05 * top(runs, lambda run, of=of: thinned(of(run), 4))
        for place, moment in enumerate(moments):
            bars = []
            for run in runs:
                quarter_TC = thinned(of(run), 4)
                row_C = quarter_TC[min(place, len(quarter_TC) - 1)]
                names = bin_names(run.num_bins)
                bars += [(n, run.name, v, None) for n, v in zip(names, row_C, strict=True)]
            axes = Axes("bin (0 hardest)", unit, y_domain=(0, high))
            panels.append(bar_panel(f"{unit}, {moment}", bars, axes, colours(runs), 190))
    return Figure(
        "snapshots", "Snapshots at four moments",
        "Means over each quarter of the run, bin by bin: from left to right, see where the prompts, the "
        "weight and the rollouts have moved.", panels, "fig. 5 and 9", keys(runs), wide=4,
    )  # fmt: skip


def _heat(
    runs: Sequence[Run], name: str, title: str, reading: str, values: Values, unit: str, paper: str,
    high: float | None = None,
) -> Figure:  # fmt: skip
    bound = high if high is not None else top(runs, lambda run: thinned(values(run), 100))
    panels = [heat_panel(run.name, values(run), unit, (0, bound)) for run in runs]
    return Figure(name, title, reading, panels, paper, wide=wide(runs))
