"""Do verdicts tell anything? A threshold that every reward passes, or none, steers nothing."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.load import Run
from gdro.report.verdicts.verdict import Verdict

SAME = 0.002
"""Pass rates within this of 0 or 1 in every step are one verdict."""
LEAST_STEPS = 5
_SHARES = ("all_right", "mixed", "all_wrong")


def one_verdict(run: Run) -> Verdict | None:
    """Every rollout right, or none, in every step; or none judged."""
    rate = _judged_rates(run)
    judge = str(run.header.get("correct", "")) or "what `correct` names"
    if not len(rate) and "pass_rate" in run.metrics and run.num_steps >= LEAST_STEPS:
        return Verdict(
            "warning", f"{run.name}: no rollout was judged.",
            f"The controller learned nothing of any prompt. Right was {judge}, which said nothing "
            "(None) of all rows; name a reward function that scores them with correct=.",
            "learning",
        )  # fmt: skip
    if len(rate) < LEAST_STEPS or (rate.min() < 1 - SAME and rate.max() > SAME):
        return None
    right = bool(rate.min() >= 1 - SAME)
    what, took, others = (
        ("every rollout counts as right", "solved", "wrong")
        if right
        else ("no rollout counts as right", "unsolvable", "right")
    )
    return Verdict(
        "warning", f"{run.name}: {what}.",
        f"The controller takes every prompt for {took} and steers by nothing. Right was {judge}"
        f"{_range(run)}. If some rollouts are {others}, say what divides them: correct=(NAME, "
        "THRESHOLD), or another reward function.",
        "learning",
    )  # fmt: skip


def _judged_rates(run: Run) -> FloatArray:
    """Pass rate of the steps in which something was judged."""
    if "pass_rate" not in run.metrics:
        return np.zeros(0)
    rate = run.metrics["pass_rate"]
    known = np.isfinite(rate)
    if all(name in run.metrics for name in _SHARES):  # without a verdict all of them are zero
        known &= sum(run.metrics[name] for name in _SHARES) > 0
    return rate[known]


def _range(run: Run) -> str:
    reward = run.metrics.get("reward", np.zeros(0))
    reward = reward[np.isfinite(reward)]
    if not len(reward):
        return ""
    return f"; the steps' mean reward lay between {reward.min():.3g} and {reward.max():.3g}"
