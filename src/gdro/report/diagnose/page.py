"""The page of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gdro.report.diagnose.figures import figures_of
from gdro.report.diagnose.replay import DEFAULT_ARMS, ReplayCost, measured, replay
from gdro.report.diagnose.rewards import RewardLog, read_rewards
from gdro.report.html import html_table
from gdro.report.page import write_page
from gdro.report.verdicts.html import verdicts_html
from gdro.report.verdicts.verdict import Verdict

_HEADS = (
    "strategy",
    "rollouts",
    "with a gradient",
    "prompts tried",
    "solved",
    "rollouts per prompt, least to most",
)


def write_diagnosis(
    data: Path,
    output: Path,
    *,
    threshold: float = 0.5,
    arms: Iterable[str] = DEFAULT_ARMS,
    seed: int = 0,
    png_dir: Path | None = None,
) -> Path:
    """Read a reward log and write a page about its pass rates and its budget.

    Args:
        data: JSONL of prompt_id and rewards, or a `groups.jsonl`.
        output: The HTML file to write.
        threshold: A rollout is right if its reward is above it.
        arms: Names of strategies to try on the same budget.
        seed: Seed of the trial's pass rates and rollouts.
        png_dir: Folder for each figure as PNG too.

    Returns:
        `output`.

    Raises:
        ReportError: The file cannot be read.
        GdroError: A strategy is unknown, or cannot spend the budget.
    """
    log = read_rewards(data, threshold)
    costs = [measured(log), *replay(log, arms, seed)]
    figures = figures_of(log, costs)
    intro = (
        f"{verdicts_html([waste(log, costs[0])], {f.name for f in figures})}"
        f"{html_table(_HEADS, [_cells(log, arm) for arm in costs])}"
        "<p>The rows below the first are a trial, not a training: the policy stays what it was, so it "
        "shows where each strategy would put the same rollouts, not what the model would learn from "
        "them. Real controllers start from the pass rates of your log.</p>"
    )
    return write_page(f"Diagnosis of {data.name}", intro, figures, output, png_dir)


def waste(log: RewardLog, cost: ReplayCost) -> Verdict:
    """How much of the log's budget had no gradient."""
    wrong, _, right = cost.shares
    never = int((log.right_K == 0).sum())
    lost = float(wrong + right)
    words = f"{100 * lost:.0f}% of {log.rollouts:,} rollouts were in groups without a gradient."
    evidence = (
        f"{100 * wrong:.0f}% in groups that were not solved, {100 * right:.0f}% in groups that were "
        f"right in every one; {never:,} of {len(log.keys):,} prompts were never solved."
    )
    severity = "warning" if lost >= 0.5 else "note" if lost >= 0.25 else "good"
    return Verdict(severity, words, evidence, "wasted")


def _cells(log: RewardLog, arm: ReplayCost) -> list[str]:
    """Texts of a row of the table: what a strategy did with the budget."""
    tried = arm.rollouts_K > 0
    per_prompt = arm.rollouts_K[tried]
    return [
        arm.name,
        f"{int(arm.rollouts_K.sum()):,}",
        f"{100 * arm.shares[1]:.1f}%",
        f"{int(tried.sum()):,} of {len(log.keys):,}",
        f"{int(np.sum(arm.solved_K)):,}",
        f"{int(per_prompt.min())} to {int(per_prompt.max())}",
    ]
