"""What the allocation of rollouts does: standard error, price, and how unequally rollouts are spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, colours, keys, line_of
from gdro.report.load import LoggedRun
from gdro.report.numbers import gini, lorenz, standard_error_ratio
from gdro.report.panels import Axes, Figure, Series, smooth
from gdro.report.plots import Bar, bar_panel, line_panel, rule_at
from gdro.report.theme import SOFT
from gdro.report.visits import Visits

_MOST_SIZES = 128


def standard_error(runs: Sequence[LoggedRun]) -> Figure | None:
    """Weighted standard error relative to uniform rollouts."""
    if all(run.visits is None for run in runs):
        return None
    panel = by_step(runs, "weighted standard error over uniform's", "ratio", _ratio)
    panel.spec["layer"].append(rule_at(1))
    reading = (
        "The sum over bins of share x deviation / root of rollouts, divided by that of the same "
        "rollouts spread evenly: below one the allocation measures the pass rates better than uniform "
        "does."
    )
    title = "Weighted standard error at equal budget"
    return Figure("standard_error", title, reading, [panel], "fig. 6b", keys(runs), wide=1)


def price(runs: Sequence[LoggedRun]) -> Figure | None:
    """Shadow price, demand and the mean that was realised."""
    priced = {run.name: run.metrics for run in runs if "price" in run.metrics}
    if not priced:
        return None

    def values(name: str, width: int = 1) -> dict[str, FloatArray]:
        return {run: smooth(m[name], width) for run, m in priced.items() if name in m}

    price, demand, mean = (
        by_step(runs, title, y, lambda run, of=of: of.get(run.name), y_zero=True, format=format)
        for title, y, of, format in (
            ("shadow price", "utility per rollout", values("price"), ".3~g"),
            ("demand at that price", "rollouts per prompt", values("demand", 5), ".3~f"),
            ("realised mean", "rollouts per prompt", values("rollouts_mean"), ".3~f"),
        )
    )
    reading = (
        "The price is what one more rollout is worth; it rises while the bins would take more than the "
        "budget and falls while they would take less, and the realised mean never leaves the budget."
    )
    title = "Shadow price, demand and realised mean"
    return Figure("price", title, reading, [price, demand, mean], keys=keys(runs))


def allocation(runs: Sequence[LoggedRun]) -> Figure | None:
    """Histogram of rollouts per visit, and inequality over the prompts of the dataset."""
    known = [(i, r, r.visits) for i, r in enumerate(runs) if r.visits is not None and len(r.visits.n_V)]
    if not known:
        return None
    sizes = _sizes([visits for _, _, visits in known])
    bars: list[Bar] = []
    lines, ginis = [Series("equal", [0, 1], [0, 1], SOFT, [4, 4])], []
    for number, run, visits in known:
        size, count = np.unique(visits.n_V, return_counts=True)
        share = dict(zip(size.tolist(), (count / len(visits.n_V)).tolist(), strict=True))
        bars += [(str(n), run.name, share.get(n, 0.0), None) for n in sizes]
        pool, spent_K = run.header.get("num_prompts"), visits.rollouts_K
        lines.append(line_of(number, run, *lorenz(spent_K, pool)))
        ginis.append(f"{run.name} {gini(spent_K, pool):.2f}")
    look = colours([run for _, run, _ in known])
    histogram = bar_panel("rollouts of a group", bars, Axes("rollouts", "share of groups"), look)
    axes = Axes("share of the pool, least served first", "share of rollouts", (0, 1), (0, 1))
    curve = line_panel(f"over the pool; Gini {', '.join(ginis)}", lines, axes)
    reading = (
        "Left, how many rollouts the groups had; right, the further a line sags below the dashed one, "
        "the more unequally the run's rollouts were spread over the prompts (Gini 0: equally)."
    )
    title = "Allocation of rollouts"
    return Figure("allocation", title, reading, [histogram, curve], keys=keys(runs), wide=2)


def _sizes(by_run: Sequence[Visits]) -> list[int]:
    """Every size of a group up to the largest; where that is many, those that occur."""
    sizes = np.unique(np.concatenate([visits.n_V for visits in by_run])).tolist()
    return list(range(1, sizes[-1] + 1)) if sizes[-1] <= _MOST_SIZES else sizes


def _ratio(run: LoggedRun) -> FloatArray | None:
    return None if run.visits is None else smooth(standard_error_ratio(run), 15)
