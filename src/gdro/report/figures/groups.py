"""Groups with and without a gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.report.figures.common import by_step, keys, steps_of, wide
from gdro.report.load import Run
from gdro.report.panels import Axes, Figure, Key, Series, smooth, thinned
from gdro.report.plots import stack_panel
from gdro.types import FloatArray

PARTS = (
    ("all wrong", "all_wrong", "var(--wrong)"),
    ("mixed: has a gradient", "mixed", "var(--mixed)"),
    ("all right", "all_right", "var(--right)"),
)


def zero_variance(runs: Sequence[Run]) -> Figure:
    """Groups that agree, split into all-right and all-wrong."""
    panels = []
    for run in runs:
        x = steps_of(run.num_steps, 120)
        parts = [
            Series(name, x, thinned(smooth(run.metrics[key], 5), 120), colour)
            for name, key, colour in PARTS
        ]
        axes = Axes("step", "share of groups", (0, run.num_steps), (0, 1))
        panels.append(stack_panel(run.name, x, parts, axes))
    return Figure(
        "zero_variance", "Groups with and without a gradient",
        "Only the yellow band teaches: the groups below it failed in every rollout, those above it "
        "succeeded in every one.", panels, "",
        [Key(name, colour) for name, _, colour in PARTS], wide(runs),
    )  # fmt: skip


def mixed_rollouts(run: Run) -> FloatArray | None:
    """Share of the rollouts that were in mixed groups, shape (S,)."""
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
                lambda run: smooth(run.metrics["mixed"], 15), y_domain=(0, 1)),
        by_step(runs, "rollouts in groups with a gradient", "share of rollouts",
                lambda run: None if (v := mixed_rollouts(run)) is None else smooth(v, 15),
                y_domain=(0, 1)),
    ]  # fmt: skip
    return Figure(
        "effective", "Effective prompts",
        "The share of prompts (left) and of rollouts (right) whose group had both right and wrong "
        "answers: the higher, the less of the budget was wasted.", panels, "", keys(runs), wide=2,
    )  # fmt: skip
