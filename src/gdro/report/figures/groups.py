"""Groups with and without a gradient."""

from __future__ import annotations

from collections.abc import Sequence

from gdro.report.figures.common import by_step, keys, steps_of, wide
from gdro.report.load import LoggedRun
from gdro.report.panels import Axes, Figure, Key, Series, smooth, thinned
from gdro.report.plots import stack_panel

PARTS = (
    ("no gradient, not solved", "flat_wrong", "var(--wrong)"),
    ("has a gradient", "gradient", "var(--mixed)"),
    ("no gradient, all right", "flat_right", "var(--right)"),
)


def zero_variance(runs: Sequence[LoggedRun]) -> Figure:
    """Groups whose rewards agree, split by whether all of them was right."""
    panels = []
    for run in runs:
        x = steps_of(run.num_steps, 120)
        parts = [
            Series(name, x, thinned(smooth(run.metrics[key], 5), 120), colour)
            for name, key, colour in PARTS
        ]
        axes = Axes("step", "share of groups", (0, run.num_steps), (0, 1))
        panels.append(stack_panel(run.name, x, parts, axes))
    reading = (
        "Only the yellow band teaches: there rewards differ within the group. The groups above it were "
        "right in every rollout; those below it were not, and all their rewards agree."
    )
    legend = [Key(name, colour) for name, _, colour in PARTS]
    title = "Groups with and without a gradient"
    return Figure("zero_variance", title, reading, panels, keys=legend, wide=wide(runs))


def effective(runs: Sequence[LoggedRun]) -> Figure:
    """Effective-prompt ratio, by prompts and by rollouts."""
    panels = [
        by_step(runs, title, y, lambda run, name=name: smooth(run.metrics[name], 15), y_domain=(0, 1))
        for name, title, y in (
            ("gradient", "effective-prompt ratio", "share of prompts"),
            ("gradient_rollouts", "rollouts in groups with a gradient", "share of rollouts"),
        )
    ]
    reading = (
        "The share of prompts (left) and of rollouts (right) whose group had rewards that differ: the "
        "higher, the less of the budget was wasted."
    )
    return Figure("effective", "Effective prompts", reading, panels, keys=keys(runs), wide=2)
