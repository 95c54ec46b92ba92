"""Runs made up in memory, for verdicts and numbers."""

from __future__ import annotations

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.visits import Visits


def visits(rows: list[tuple[int, int, int, int, int]], predicted: float = np.nan) -> Visits:
    """Visits of (prompt, step, bin, n, successes)."""
    table = np.array(rows, np.int64).reshape(-1, 5)
    keys = [f"k{i}" for i in range(int(table[:, 0].max()) + 1)]
    return Visits(keys, *table.T, np.full(len(table), predicted))


def run(
    prompts: list[float],
    rollouts: list[float],
    weight: list[float],
    *,
    steps: int = 40,
    spent: object = None,
    strategy: tuple[str, ...] = ("q",),
    seen: Visits | None = None,
    **header: object,
) -> LoggedRun:
    """A run of equal steps; the first column is the unseen prompts. `price` makes it allocate."""
    bins = {
        "prompts": np.tile(np.array(prompts, float), (steps, 1)),
        "rollouts": np.tile(np.array(rollouts, float), (steps, 1)),
        "weight": np.tile(np.array(weight, float), (steps, 1)),
        "pass_rate": np.full((steps, len(prompts)), 0.5),
    }
    mean = float(np.nansum(bins["prompts"][0] * bins["rollouts"][0]) / max(1, np.sum(prompts)))
    metrics = {"rollouts_mean": np.full(steps, mean), "pass_rate": np.full(steps, 0.5)}
    if "price" in strategy:
        metrics["price"] = np.full(steps, 0.1)
    total = np.cumsum(np.broadcast_to(np.array(100.0 if spent is None else spent, float), steps))
    made = LoggedRun(
        "mine",
        bins,
        metrics,
        {"rollouts": total, "missing": np.zeros(steps)},
        None,
        dict(header),
        list(range(steps)),
        {"q": np.full((steps, len(prompts) - 1), 1 / (len(prompts) - 1))} if "q" in strategy else {},
    )
    made.__dict__["visits"] = seen
    return made
