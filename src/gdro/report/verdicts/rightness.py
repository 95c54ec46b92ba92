"""Do the rollouts differ in what counts as right? A threshold that all pass, or none, steers nothing."""

from __future__ import annotations

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.verdicts.verdict import Verdict

SAME = 0.002
"""Pass rates within this of 0 or 1 in every step are one verdict."""
LEAST_STEPS = 5


def one_verdict(run: LoggedRun) -> Verdict | None:
    """Every rollout right, or none, in every step; or none judged."""
    rate = run.metrics.get("pass_rate", np.zeros(0))
    rate = rate[np.isfinite(rate)]
    judge = str(run.header.get("correct", "")) or "what `correct` names"
    if not len(rate) and "pass_rate" in run.metrics and run.num_steps >= LEAST_STEPS:
        evidence = (
            f"The controller learned nothing of any prompt. Right was {judge}, which said nothing "
            "(None) of all rows; name a reward function that scores them with correct=."
        )
        return Verdict("warning", f"{run.name}: no rollout was judged.", evidence, "learning")
    if len(rate) < LEAST_STEPS or (rate.min() < 1 - SAME and rate.max() > SAME):
        return None
    right = bool(rate.min() >= 1 - SAME)
    what, difficulty, others = ("every", "solved", "wrong") if right else ("no", "unsolvable", "right")
    evidence = (
        f"The controller takes every prompt for {difficulty} and steers by nothing. Right was {judge}"
        f"{_range(run)}. If some rollouts are {others}, say what divides them: correct=(NAME, "
        "THRESHOLD), or another reward function."
    )
    return Verdict("warning", f"{run.name}: {what} rollout counts as right.", evidence, "learning")


def _range(run: LoggedRun) -> str:
    reward = run.metrics.get("reward", np.zeros(0))
    reward = reward[np.isfinite(reward)]
    if not len(reward):
        return ""
    return f"; the steps' mean reward lay between {reward.min():.3g} and {reward.max():.3g}"
