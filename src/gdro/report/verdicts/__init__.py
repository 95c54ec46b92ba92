"""What a log says of its run, in plain words: verdicts with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gdro.report.load import LoggedRun
from gdro.report.verdicts.adversary import adversary_asleep, adversary_collapsed, allocation_asleep
from gdro.report.verdicts.budget import between_runs, budget_wasted, neutrality
from gdro.report.verdicts.idle import identical_to_grpo
from gdro.report.verdicts.rightness import one_verdict
from gdro.report.verdicts.sources import refused_source
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
    refused_source,
    bins_oscillate,
    starved,
    neutrality,
)


def verdicts(runs: Sequence[LoggedRun]) -> list[Verdict]:
    """All verdicts on some runs, the gravest first."""
    results = _merged([verdict for run in runs for check in CHECKS if (verdict := check(run))])
    compared = between_runs(runs)
    if compared is not None:
        results.append(compared)
    return sorted(results, key=lambda verdict: ORDER.index(verdict.severity))


def _merged(results: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts with good news in the same words of several runs are one, which names those runs."""
    merged: dict[tuple[str, ...], Verdict] = {}
    for verdict in results:
        run, _, text = verdict.words.partition(": ")
        same = (text, verdict.evidence) if verdict.severity == "good" else (verdict.words,)
        if same in merged:
            run = f"{merged[same].words.removesuffix(f': {text}')}, {run}"
        merged[same] = replace(verdict, words=f"{run}: {text}")
    return list(merged.values())
