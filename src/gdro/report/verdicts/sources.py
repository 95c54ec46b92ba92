"""Is there a source of the data whose answers the verifier never accepts?"""

from __future__ import annotations

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.verdicts.verdict import Verdict

LEAST_ROLLOUTS = 200
LEAST_ELSEWHERE = 0.05
"""Pass rate of the other sources from which on a source without any success is suspicious."""


def refused_source(run: LoggedRun) -> Verdict | None:
    """A source with many rollouts and no success, while others have some."""
    visits, source_of = run.visits, run.sources
    if visits is None or not source_of:
        return None
    names, source_K = np.unique([source_of.get(key, "") for key in visits.keys], return_inverse=True)
    rollouts = np.bincount(source_K, visits.rollouts_K)
    successes = np.bincount(source_K, visits.successes_K)
    refused = (successes == 0) & (rollouts >= LEAST_ROLLOUTS) & (names != "")
    others = rollouts[~refused].sum()
    if not refused.any() or not others or successes.sum() / others < LEAST_ELSEWHERE:
        return None
    listed = ", ".join(repr(str(name)) for name in names[refused][:3])
    share = rollouts[refused].sum() / rollouts.sum()
    evidence = (
        f"{rollouts[refused].sum():,.0f} rollouts ({share:.0%}) without one success, while "
        f"{successes.sum() / others:.0%} of the others are right. Either these problems are beyond the "
        "model, or their answers have a form that the verifier does not read: compare some completions "
        "with the answers in the data. Strategies that follow success give such a source less and less."
    )
    words = f"{run.name}: no rollout of the source {listed} was ever accepted."
    return Verdict("warning", words, evidence, "never_solved")
