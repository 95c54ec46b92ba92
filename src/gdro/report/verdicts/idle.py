"""Did the strategy do anything at all, or was this GRPO under another name?"""

from __future__ import annotations

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.verdicts.verdict import Verdict

_WHOLE = ("rollouts_min", "rollouts_max", "weight_mean", "weight_max")


def identical_to_grpo(run: LoggedRun) -> Verdict | None:
    """Equal rollouts and weight one in every step, offered prompts, nothing dropped or recalled."""
    header = run.header
    planned = header.get("applied") is True and header.get("selects") is False
    named = header.get("strategy", "uniform") != "uniform"
    if not (planned and named and set(_WHOLE) <= set(run.metrics)):
        return None
    low_S, high_S, mean_S, most_S = (run.metrics[name] for name in _WHOLE)
    changed = any(run.ledger.get(name, np.zeros(1))[-1] for name in ("discarded", "recalled"))
    if changed or not ((low_S == high_S) & (mean_S == 1.0) & (most_S == 1.0)).all():
        return None
    evidence = (
        f"In all {run.num_steps:,} steps each prompt got {low_S[0]:g} rollouts and weight one, and the "
        f"trainer chose the prompts: `{header['strategy']}` did nothing.{_why(run)}"
    )
    return Verdict("warning", f"{run.name}: identical to GRPO.", evidence, "learning")


def _why(run: LoggedRun) -> str:
    """The usual reason, where the log shows it."""
    spent_S = run.ledger.get("rollouts")
    if spent_S is not None and 0 < spent_S[-1] <= run.num_steps * run.metrics["rollouts_max"][-1]:
        return (
            " A step had one prompt, so what moves rollouts or weight between the prompts of a step had "
            "nothing to move: take more rows a step, or fewer rollouts a prompt."
        )
    if run.visits is None or not len(run.visits.keys) or float(np.mean(run.visits.visits_K)) >= 1.5:
        return ""
    return (
        " Its prompts were visited about once, and it acts on what earlier visits of a prompt showed: "
        "give known pass rates (`prior_column`), bins of a column (`Difficulty(bins='column')`), fewer "
        "prompts, or more epochs."
    )
