"""What a diagnosis comes to: what was wasted, on which prompts, and which lines to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdro.common.untrusted import shown
from gdro.numerics.arrays import BoolArray
from gdro.report.diagnose.replay import ReplayCost
from gdro.report.diagnose.rewards import RewardLog

_EXAMPLES, _LENGTH = 3, 40
_GAIN = 0.02  # smaller differences of a trial's shares are chance
_RECALLS = {"gdro", "gdro-tail", "memory"}  # verl's batches cannot hold rollouts of earlier steps
_TRL = (
    "-from trl import GRPOTrainer",
    "+from gdro.integrations.trl import GDROTrainer",
    "-trainer = GRPOTrainer(...)",
    '+trainer = GDROTrainer(..., strategy="{name}")',
)
_VERL = (
    "+export VERL_USE_EXTERNAL_MODULES=gdro.integrations.verl",
    " python -m verl.trainer.main_ppo ... \\",
    "+  trainer.v1.trainer_mode=gdro +gdro.strategy={name}",
)


@dataclass(frozen=True)
class Conclusion:
    """The end of a diagnosis.

    Attributes:
        sentences: Its sentences.
        change: The lines of a training script to change, as a diff; empty if nothing would help.
    """

    sentences: tuple[str, ...]
    change: tuple[str, ...]

    @property
    def text(self) -> str:
        """The conclusion as lines of text."""
        lines = [*self.sentences, *(f"    {line}" for line in self.change)]
        return "\n".join(lines)


def conclusion(log: RewardLog, costs: Sequence[ReplayCost]) -> Conclusion:
    """What a log and the trial on it come to; the first of the costs is the log itself."""
    measured, *arms = costs
    wrong, useful, right = (100 * float(share) for share in measured.shares)
    sentences = [
        f"{wrong + right:.0f}% of your {log.rollouts:,} rollouts were wasted: they stood in groups of "
        f"equal rewards, which have no gradient ({wrong:.0f}% in groups that failed, "
        f"{right:.0f}% in groups in which every rollout was right).",
        *_where(log),
    ]
    if not arms:
        return Conclusion(tuple(sentences), ())
    done = ", ".join(
        f"{arm.name} {100 * arm.shares[1]:.0f}% and {int(arm.solved_K.sum()):,}" for arm in arms
    )
    begun = f"{log.capped} Your" if log.capped else "With as many rollouts, your"
    sentences.append(
        f"{begun} log had a gradient in {useful:.0f}% of {'its rollouts' if log.capped else 'them'} and "
        f"solved {int(measured.solved_K.sum()):,} prompts; in the trial: {done}."
    )
    best, gain = _best(log, costs)
    if best is None:
        sentences.append(
            "No strategy that was tried would have wasted notably fewer or solved notably more than "
            "uniform rollouts do, so this log names no line to change. What trained better at the same "
            "number of rollouts is in gdro's docs/results.md."
        )
        return Conclusion(tuple(sentences), ())
    sentences.append(f"To try {best}, which {gain} (a trial shows no learning), change:")
    form = _VERL if log.program == "verl" else _TRL
    return Conclusion(tuple(sentences), tuple(line.format(name=best) for line in form))


def _best(log: RewardLog, costs: Sequence[ReplayCost]) -> tuple[str | None, str]:
    """The strategy that did notably better than uniform rollouts, and in what; None without one."""
    measured, *arms = costs
    plain = next((arm for arm in arms if arm.name == "uniform"), measured)
    usable = [arm for arm in arms if not (log.program == "verl" and arm.name in _RECALLS)]
    for what, value in (
        ("had the most rollouts with a gradient", lambda arm: float(arm.shares[1])),
        ("solved the most prompts", lambda arm: float(arm.solved_K.mean())),
    ):
        best = max(usable, key=value, default=plain)
        if value(best) >= value(plain) + _GAIN:
            return best.name, what
    return None, ""


def _where(log: RewardLog) -> list[str]:
    """Which prompts took rollouts without a gradient."""
    flat_K = np.bincount(log.prompt_V, (log.gradient_V == 0) * log.n_V, len(log.keys)) > 0
    kinds = (
        ("never solved", flat_K & (log.right_K == 0)),
        ("always solved", flat_K & (log.right_K == log.trials_K)),
    )
    parts = [_named(log, name, mask_K) for name, mask_K in kinds if mask_K.any()]
    return [f"They went to {' and to '.join(parts)}."] if parts else []


def _named(log: RewardLog, name: str, mask_K: BoolArray) -> str:
    order = np.argsort(-np.where(mask_K, log.trials_K, -1), kind="stable")[:_EXAMPLES]
    examples = [
        f"{shown(log.keys[i], most=_LENGTH)!r} ({log.trials_K[i]:,} rollouts)"
        for i in order
        if mask_K[i]
    ]
    rest = int(mask_K.sum()) - len(examples)
    more = f" and {rest:,} more" if rest else ""
    count = f"{int(mask_K.sum()):,} of {len(log.keys):,} prompts"
    return f"{count} that were {name}: {', '.join(examples)}{more}"
