"""The page of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gdro.report.diagnose.conclusion import Conclusion, conclusion
from gdro.report.diagnose.figures import figures_of
from gdro.report.diagnose.read import read_rewards
from gdro.report.diagnose.replay import DEFAULT_ARMS, ReplayCost, measured, replay
from gdro.report.diagnose.rewards import RewardLog
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


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A reward log, and what each strategy did with its budget in a trial.

    Attributes:
        name: Name of the log's file or folder.
        log: The log.
        costs: What the log spent, and what each strategy did.
    """

    name: str
    log: RewardLog
    costs: Sequence[ReplayCost]

    @property
    def conclusion(self) -> Conclusion:
        """What it comes to."""
        return conclusion(self.log, self.costs)

    def write(self, output: Path, png_dir: Path | None = None) -> Path:
        """Write the page, and each figure as PNG if asked; returns `output`."""
        figures = figures_of(self.log, self.costs)
        verdict = verdicts_html([waste(self.log, self.costs[0])], {f.name for f in figures})
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.log.notes)
        table = html_table(_HEADS, [_cells(self.log, arm) for arm in self.costs])
        intro = f"{verdict}{notes}{table}<p>{_TRIAL} {escape(self.log.capped)}</p>"
        title = f"Diagnosis of {self.name}"
        return write_page(title, intro, figures, output, png_dir, conclusion_html(self.conclusion))


_TRIAL = (
    "The rows below the first are a trial, not a training: the policy stays what it was, so it shows "
    "where each strategy would put the same rollouts, not what the model would learn from them. Real "
    "controllers start from the pass rates of your log. A group is the rollouts of one prompt in one "
    "step; it has a gradient if its rewards differ."
)


def diagnose(
    data: Path,
    *,
    threshold: float = 0.5,
    arms: Iterable[str] = DEFAULT_ARMS,
    seed: int = 0,
    id_column: str | None = None,
    reward_columns: Sequence[str] = (),
) -> Diagnosis:
    """Read a reward log, and try strategies on its budget.

    Args:
        data: A reward log, see `read_rewards`.
        threshold: A rollout is right if its reward is above it.
        arms: Names of strategies to try on the same budget.
        seed: Seed of the trial's pass rates and rollouts.
        id_column: Column that names the prompt, see `read_rewards`.
        reward_columns: Columns whose sum is the reward, see `read_rewards`.

    Returns:
        The diagnosis.

    Raises:
        ReportError: The log cannot be read.
        GdroError: A strategy is unknown, or cannot spend the budget.
    """
    log = read_rewards(data, threshold, id_column=id_column, reward_columns=reward_columns)
    return Diagnosis(data.name, log, [measured(log), *replay(log, arms, seed)])


def write_diagnosis(data: Path, output: Path, *, png_dir: Path | None = None, **options: Any) -> Path:
    """Read a reward log and write a page about its pass rates and its budget.

    Args:
        data: A reward log, see `read_rewards`.
        output: The HTML file to write.
        png_dir: Folder for each figure as PNG too.
        **options: Keyword arguments of `diagnose`.

    Returns:
        `output`.

    Raises:
        GdroError: As for `diagnose`.
    """
    return diagnose(data, **options).write(output, png_dir)


def conclusion_html(end: Conclusion) -> str:
    """The conclusion as the last section of the page."""
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in end.sentences)
    change = f"<pre>{escape(chr(10).join(end.change))}</pre>" if end.change else ""
    return f'<section id="conclusion"><h2>What to do</h2>{sentences}{change}</section>'


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
