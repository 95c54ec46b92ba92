"""Groups with and without a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, keys, steps_of, wide
from gdro.report.load import Run
from gdro.report.panels import Axes, Figure, Key, Series, smooth, thinned
from gdro.report.plots import stack_panel

PARTS = (
    ("no gradient, not solved", "flat_wrong", "var(--wrong)"),
    ("has a gradient", "gradient", "var(--mixed)"),
    ("no gradient, all right", "flat_right", "var(--right)"),
)
# Logs of before 2026-11-26 have verdicts alone: with rewards of 0 and 1 the same.
_OLD = {"flat_wrong": "all_wrong", "gradient": "mixed", "flat_right": "all_right"}


def share(run: Run, name: str) -> FloatArray:
    """A share of the groups by whether their rewards differ, shape (S,)."""
    return run.metrics[name] if name in run.metrics else run.metrics[_OLD[name]]


def zero_variance(runs: Sequence[Run]) -> Figure:
    """Groups whose rewards agree, split by whether all of them was right."""
    panels = []
    for run in runs:
        x = steps_of(run.num_steps, 120)
        parts = [
            Series(name, x, thinned(smooth(share(run, key), 5), 120), colour)
            for name, key, colour in PARTS
        ]
        axes = Axes("step", "share of groups", (0, run.num_steps), (0, 1))
        panels.append(stack_panel(run.name, x, parts, axes))
    return Figure(
        "zero_variance", "Groups with and without a gradient",
        "Only the yellow band teaches: there rewards differ within the group. The groups above it were "
        "right in every rollout; those below it were not, and all their rewards agree.", panels, "",
        [Key(name, colour) for name, _, colour in PARTS], wide(runs),
    )  # fmt: skip


def useful_rollouts(run: Run) -> FloatArray | None:
    """Share of the rollouts that were in groups with a gradient, shape (S,)."""
    if "gradient_rollouts" in run.metrics:
        return run.metrics["gradient_rollouts"]
    visits = run.visits
    if visits is None:
        return None
    mixed_V = (visits.successes_V > 0) & (visits.successes_V < visits.n_V)
    total_S = np.bincount(visits.step_V, visits.n_V, run.num_steps)
    useful_S = np.bincount(visits.step_V, visits.n_V * mixed_V, run.num_steps)
    return np.where(total_S > 0, useful_S / np.maximum(total_S, 1), np.nan)


def effective(runs: Sequence[Run]) -> Figure:
    """Effective-prompt ratio, by prompts and by rollouts."""
    panels = [
        by_step(runs, "effective-prompt ratio", "share of prompts",
                lambda run: smooth(share(run, "gradient"), 15), y_domain=(0, 1)),
        by_step(runs, "rollouts in groups with a gradient", "share of rollouts",
                lambda run: None if (v := useful_rollouts(run)) is None else smooth(v, 15),
                y_domain=(0, 1)),
    ]  # fmt: skip
    return Figure(
        "effective", "Effective prompts",
        "The share of prompts (left) and of rollouts (right) whose group had rewards that differ: the "
        "higher, the less of the budget was wasted.", panels, "", keys(runs), wide=2,
    )  # fmt: skip
