"""Where the batch lies among the bins, and where the strategy pulls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdro.log.curriculum import curriculum
from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, keys
from gdro.report.load import Run
from gdro.report.panels import Figure, Panel, smooth
from gdro.report.plots import rule_at


def series_of(run: Run) -> dict[str, FloatArray]:
    """The curriculum's series, each shape (S,)."""
    prompts, rollouts, weight = (run.bins[k][:, 1:] for k in ("prompts", "rollouts", "weight"))
    return curriculum(prompts, rollouts, weight)


def _panel(runs: Sequence[Run], title: str, y: str, name: str, **axes: Any) -> Panel:
    return by_step(runs, title, y, lambda run: smooth(series_of(run)[name], 5), **axes)


def mean_bin(runs: Sequence[Run]) -> Figure:
    """Mean bin index of prompts and of the pull."""
    high = max(run.num_bins for run in runs) - 1
    panels = [
        _panel(runs, "of the prompts", "mean bin (0 hardest)", "bin_mean", y_domain=(0, high)),
        _panel(runs, "of the pull: prompts x rollouts x weight", "mean bin (0 hardest)",
               "pull_bin_mean", y_domain=(0, high)),
    ]  # fmt: skip
    return Figure(
        "mean_bin", "Mean bin",
        "Left rises as prompts become easy for the model; right, lower than left, shows that the "
        "strategy keeps the gradient with the harder ones.", panels, "fig. 4 and 8", keys(runs), wide=2,
    )  # fmt: skip


def mass(runs: Sequence[Run]) -> Figure:
    """Share of the prompts in the upper bins."""
    panels = [
        _panel(runs, "upper 70% of the bins (>= 3 of ten)", "share of prompts", "share_upper",
               y_domain=(0, 1)),
        _panel(runs, "upper 20% of the bins (>= 8 of ten)", "share of prompts", "share_top",
               y_domain=(0, 1)),
    ]  # fmt: skip
    return Figure(
        "mass", "Mass in the upper bins",
        "Prompts that have left the hard bins (left) and those that are all but solved (right).",
        panels, "fig. 4 and 8", keys(runs), wide=2,
    )  # fmt: skip


def entropy(runs: Sequence[Run]) -> Figure:
    """Entropies and effective bins."""
    panels = [
        _panel(runs, "of the prompts", "entropy, nats", "share_entropy", y_zero=True),
        _panel(runs, "of the pull", "entropy, nats", "pull_entropy", y_zero=True),
        _panel(runs, "effective bins of the pull", "bins", "effective_bins", y_zero=True),
    ]
    return Figure(
        "entropy", "Entropy over the bins",
        "A fall in the middle that the left does not show means that the strategy has settled on few "
        "bins; effective bins near one mean that it has collapsed.", panels, "fig. 4 and 8", keys(runs),
    )  # fmt: skip


def lead_lag(runs: Sequence[Run]) -> Figure:
    """Mean bin of the pull minus that of the data."""
    panel = _panel(runs, "mean bin of the pull minus that of the prompts", "bins", "lead")
    panel.spec["layer"].append(rule_at(0))
    return Figure(
        "lead", "Lead over the data",
        "Below zero the strategy pulls to harder bins than the data's, at zero it follows them (plain "
        "GRPO), above it prefers what is easy.", [panel], "fig. 6a", keys(runs), wide=1,
    )  # fmt: skip
