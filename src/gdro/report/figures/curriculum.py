"""Where the batch lies among the bins, and where the strategy pulls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gdro.log.curriculum import curriculum
from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, keys
from gdro.report.load import LoggedRun
from gdro.report.panels import Figure, Panel, smooth
from gdro.report.plots import rule_at

_PAPER = "fig. 4 and 8"


def series_of(run: LoggedRun) -> dict[str, FloatArray]:
    """The curriculum's series, each shape (S,)."""
    prompts, rollouts, weight = (run.bins[k][:, 1:] for k in ("prompts", "rollouts", "weight"))
    return curriculum(prompts, rollouts, weight)


def _panels(runs: Sequence[LoggedRun], y: str, titles: Mapping[str, str], **axes: Any) -> list[Panel]:
    """A panel per series of the curriculum, with its title."""
    return [
        by_step(runs, title, y, lambda run, name=name: smooth(series_of(run)[name], 5), **axes)
        for name, title in titles.items()
    ]


def mean_bin(runs: Sequence[LoggedRun]) -> Figure:
    """Mean bin index of prompts and of the pull."""
    titles = {"bin_mean": "of the prompts", "pull_bin_mean": "of the pull: prompts x rollouts x weight"}
    high = max(run.num_bins for run in runs) - 1
    panels = _panels(runs, "mean bin (0 hardest)", titles, y_domain=(0, high))
    reading = (
        "A bin holds prompts of similar difficulty (0 the hardest), and the pull counts each by "
        "rollouts x weight: left rises as prompts become easy; right, lower than left, shows that the "
        "strategy keeps the gradient with harder ones."
    )
    return Figure("mean_bin", "Mean bin", reading, panels, _PAPER, keys(runs), wide=2)


def mass(runs: Sequence[LoggedRun]) -> Figure:
    """Share of the prompts in the upper bins."""
    titles = {
        "share_upper": "upper 70% of the bins (>= 3 of ten)",
        "share_top": "upper 20% of the bins (>= 8 of ten)",
    }
    panels = _panels(runs, "share of prompts", titles, y_domain=(0, 1))
    reading = "Prompts that have left the hard bins (left) and those that are all but solved (right)."
    return Figure("mass", "Mass in the upper bins", reading, panels, _PAPER, keys(runs), wide=2)


def entropy(runs: Sequence[LoggedRun]) -> Figure:
    """Entropies and effective bins."""
    titles = {"share_entropy": "of the prompts", "pull_entropy": "of the pull"}
    panels = _panels(runs, "entropy, nats", titles, y_zero=True)
    panels += _panels(runs, "bins", {"effective_bins": "effective bins of the pull"}, y_zero=True)
    reading = (
        "Entropy is high where all bins count alike, effective bins is how many bins that amounts to: a "
        "fall of the pull (prompts x rollouts x weight) that the left does not show means that few bins "
        "are left, near one that it has collapsed."
    )
    return Figure("entropy", "Entropy over the bins", reading, panels, _PAPER, keys(runs))


def lead_lag(runs: Sequence[LoggedRun]) -> Figure:
    """Mean bin of the pull minus that of the data."""
    panels = _panels(runs, "bins", {"lead": "mean bin of the pull minus that of the prompts"})
    panels[0].spec["layer"].append(rule_at(0))
    reading = (
        "The lead is by how many bins the gradient (the pull: prompts x rollouts x weight) is off the "
        "prompts: below zero the strategy pulls to harder bins, at zero it follows the data (plain "
        "GRPO), above it prefers what is easy."
    )
    return Figure("lead", "Lead over the data", reading, panels, "fig. 6a", keys(runs), wide=1)
