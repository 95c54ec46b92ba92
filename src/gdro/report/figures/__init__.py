"""Every figure of a run, one module a theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gdro.report.figures import bins, budget, curriculum, groups, learning, prompts
from gdro.report.load import LoggedRun
from gdro.report.panels import Figure


def all_figures(runs: Sequence[LoggedRun], summary: dict[str, Any] | None) -> list[Figure]:
    """Every figure that the logs allow, in the order of the page."""
    figures = [
        learning.overview(runs),
        bins.share(runs),
        bins.weights(runs),
        bins.rewards(runs),
        bins.rollouts(runs),
        bins.snapshots(runs),
        curriculum.mean_bin(runs),
        curriculum.mass(runs),
        curriculum.entropy(runs),
        curriculum.lead_lag(runs),
        budget.standard_error(runs),
        budget.price(runs),
        budget.allocation(runs),
        groups.zero_variance(runs),
        groups.effective(runs),
        prompts.never_solved(runs),
        prompts.calibrated(runs),
        learning.curves(runs),
        learning.policy(runs),
        learning.heldout(runs, summary),
    ]
    drawn = [replace(f, panels=[p for p in f.panels if not p.empty]) for f in figures if f is not None]
    return [figure for figure in drawn if figure.panels]
