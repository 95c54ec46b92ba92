"""Is the budget respected, and is it spent where something can be learned?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.verdicts.verdict import Verdict

HOPELESS_VISITS = 5
WASTED_NOTE, WASTED_WARNING = 0.05, 0.10
UNEVEN = 0.01


def budget_wasted(run: LoggedRun) -> Verdict | None:
    """Rollouts on prompts without one success in five visits or more."""
    visits = run.visits
    if visits is None or not len(visits.keys):
        return None
    hopeless_K = (visits.visits_K >= HOPELESS_VISITS) & (visits.successes_K == 0)
    share = float(visits.rollouts_K[hopeless_K].sum() / visits.rollouts_K.sum())
    if share < WASTED_NOTE:
        return None
    words = f"{run.name}: {100 * share:.0f}% of the rollouts went to prompts that were never solved."
    evidence = (
        f"{int(hopeless_K.sum()):,} prompts were visited {HOPELESS_VISITS} times or more without one "
        "success; they may be beyond the model, or their answers wrong. Sort the explorer by pass rate "
        "to see them."
    )
    return Verdict("warning" if share >= WASTED_WARNING else "note", words, evidence, "never_solved")


def neutrality(run: LoggedRun) -> Verdict | None:
    """Whether every step generated the same number of rollouts, and all came back."""
    total_S = run.ledger.get("rollouts")
    if total_S is None or not np.isfinite(total_S).all():
        return None
    spent_S = np.diff(total_S, prepend=0.0)
    low, high, mean = float(spent_S.min()), float(spent_S.max()), float(spent_S.mean())
    missing = float(np.nan_to_num(run.ledger.get("missing", np.zeros(1))[-1]))
    if low == high and not missing:
        evidence = (
            f"Each of {run.num_steps:,} steps generated exactly {low:,.0f} rollouts, and all came back: "
            "compute neutrality means that a step costs what it costs in plain GRPO."
        )
        return Verdict("good", f"{run.name}: compute neutrality kept.", evidence, "learning")
    uneven = high > (1 + UNEVEN) * low or missing > UNEVEN * total_S[-1]
    lost = f" {missing:,.0f} planned rollouts did not come back." if missing else ""
    evidence = (
        f"Steps generated from {low:,.0f} to {high:,.0f} rollouts, {mean:,.1f} in the mean.{lost} "
        "Compute neutrality means that every step costs the same number of rollouts, as in plain GRPO; "
        "strategies that sample on break it by design: compare runs at equal rollouts or tokens, not at "
        "equal steps."
    )
    severity = "warning" if uneven else "note"
    return Verdict(severity, f"{run.name}: compute neutrality broken.", evidence, "learning")


def between_runs(runs: Sequence[LoggedRun]) -> Verdict | None:
    """Whether runs spent the same rollouts a step."""
    totals = {r.name: (r.ledger["rollouts"][-1], r.num_steps) for r in runs if "rollouts" in r.ledger}
    spent = {name: float(total) / num_steps for name, (total, num_steps) in totals.items()}
    if len(spent) < 2:
        return None
    low, high = min(spent, key=lambda n: spent[n]), max(spent, key=lambda n: spent[n])
    if spent[high] <= (1 + UNEVEN) * spent[low]:
        return None
    evidence = (
        f"{high} generated {spent[high]:,.0f} rollouts a step, {low} {spent[low]:,.0f}: compare them "
        "on the axis of rollouts or tokens, not of steps."
    )
    return Verdict("warning", "The runs did not spend the same.", evidence, "learning")
