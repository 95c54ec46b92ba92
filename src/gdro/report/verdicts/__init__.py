"""What a log says of its run, in plain words: verdicts with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gdro.report.load import Run
from gdro.report.verdicts.adversary import adversary_asleep, adversary_collapsed, allocation_asleep
from gdro.report.verdicts.budget import between_runs, budget_wasted, neutrality
from gdro.report.verdicts.idle import identical_to_grpo
from gdro.report.verdicts.rightness import one_verdict
from gdro.report.verdicts.tracker import bins_oscillate, starved
from gdro.report.verdicts.verdict import ORDER, Verdict

__all__ = ["Verdict", "verdicts"]

CHECKS = (
    one_verdict,
    identical_to_grpo,
    adversary_asleep,
    adversary_collapsed,
    allocation_asleep,
    budget_wasted,
    bins_oscillate,
    starved,
    neutrality,
)


def verdicts(runs: Sequence[Run]) -> list[Verdict]:
    """All verdicts on some runs, the gravest first."""
    found = [made for run in runs for check in CHECKS if (made := check(run)) is not None]
    found = _merged(found)
    compared = between_runs(runs)
    if compared is not None:
        found.append(compared)
    return sorted(found, key=lambda verdict: ORDER.index(verdict.severity))


def _merged(found: Sequence[Verdict]) -> list[Verdict]:
    """Good news of several runs in the same words is told once."""
    merged: dict[tuple[str, ...], Verdict] = {}
    for verdict in found:
        run, _, said = verdict.words.partition(": ")
        same = (said, verdict.evidence) if verdict.severity == "good" else (verdict.words,)
        if same in merged:
            run = f"{merged[same].words.removesuffix(f': {said}')}, {run}"
        merged[same] = replace(verdict, words=f"{run}: {said}")
    return list(merged.values())
