"""What the allocation of rollouts does: standard error, price, and who got how many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, colours, keys
from gdro.report.load import Run
from gdro.report.numbers import gini, lorenz, standard_error_ratio
from gdro.report.panels import Axes, Figure, Series, dash, smooth
from gdro.report.plots import bar_panel, line_panel, rule_at
from gdro.report.theme import SOFT, run_colour
from gdro.report.visits import Visits


def standard_error(runs: Sequence[Run]) -> Figure | None:
    """Weighted standard error relative to uniform rollouts."""
    if all(run.visits is None for run in runs):
        return None
    panel = by_step(runs, "weighted standard error over uniform's", "ratio", _ratio)
    panel.spec["layer"].append(rule_at(1))
    return Figure(
        "standard_error", "Weighted standard error at equal budget",
        "The sum over bins of share x deviation / root of rollouts, divided by that of the same "
        "rollouts spread evenly: below one the allocation measures the pass rates better than uniform "
        "does.",
        [panel], "fig. 6b", keys(runs), wide=1,
    )  # fmt: skip


def price(runs: Sequence[Run]) -> Figure | None:
    """Shadow price, demand and the mean that was realised."""
    if not any("price" in run.metrics for run in runs):
        return None
    left = by_step(runs, "shadow price", "utility per rollout", lambda run: run.metrics.get("price"),
                   y_zero=True, format=".3~g")  # fmt: skip
    right = by_step(runs, "demand at that price", "rollouts per prompt",
                    lambda run: _smooth(run, "demand"), y_zero=True)  # fmt: skip
    mean = by_step(runs, "realised mean", "rollouts per prompt",
                   lambda run: run.metrics["rollouts_mean"] if "price" in run.metrics else None,
                   y_zero=True)  # fmt: skip
    return Figure(
        "price", "Shadow price, demand and realised mean",
        "The price is what one more rollout is worth; it rises while the bins would take more than the "
        "budget and falls while they would take less, and the realised mean never leaves the budget.",
        [left, right, mean], "", keys(runs),
    )  # fmt: skip


def allocation(runs: Sequence[Run]) -> Figure | None:
    """Histogram of rollouts a visit, and inequality over the pool."""
    known = [(i, run, run.visits) for i, run in enumerate(runs)
             if run.visits is not None and len(run.visits.n_V)]  # fmt: skip
    if not known:
        return None
    sizes = _sizes([visits for _, _, visits in known])
    bars = []
    for _, run, visits in known:
        count = dict(zip(*(a.tolist() for a in np.unique(visits.n_V, return_counts=True)), strict=True))
        bars += [(str(n), run.name, count.get(n, 0) / len(visits.n_V), None) for n in sizes]
    histogram = bar_panel("rollouts of a group", bars, Axes("rollouts", "share of groups"),
                          colours([run for _, run, _ in known]))  # fmt: skip
    lines, said = [Series("equal", [0, 1], [0, 1], SOFT, [4, 4])], []
    for number, run, visits in known:
        pool, spent_K = run.header.get("num_prompts"), visits.rollouts_K
        lines.append(Series(run.name, *lorenz(spent_K, pool), run_colour(number), dash(number)))
        said.append(f"{run.name} {gini(spent_K, pool):.2f}")
    axes = Axes("share of the pool, least served first", "share of rollouts", (0, 1), (0, 1))
    curve = line_panel(f"over the pool; Gini {', '.join(said)}", lines, axes)
    return Figure(
        "allocation", "Allocation of rollouts",
        "Left, how many rollouts the groups had; right, the further a line sags below the dashed one, "
        "the more unequally the run's rollouts were spread over the prompts (Gini 0: equally).",
        [histogram, curve], "", keys(runs), wide=2,
    )  # fmt: skip


def _sizes(seen: Sequence[Visits]) -> list[int]:
    """Every size of a group up to the largest; where that is many, those that occur."""
    found = np.unique(np.concatenate([visits.n_V for visits in seen])).tolist()
    return list(range(1, found[-1] + 1)) if found[-1] <= _MOST_SIZES else found


_MOST_SIZES = 128


def _smooth(run: Run, name: str) -> FloatArray | None:
    return smooth(run.metrics[name], 5) if name in run.metrics else None


def _ratio(run: Run) -> FloatArray | None:
    return None if run.visits is None else smooth(standard_error_ratio(run), 15)
