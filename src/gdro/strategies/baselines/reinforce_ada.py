"""Reinforce-Ada: sample each prompt until its group has a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import BoolArray
from gdro.numerics.ragged import rank_within
from gdro.strategy import More, NoState, Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class ReinforceAda(Strategy[NoState]):
    """Sample each prompt in rounds until its exit condition holds, then keep n of its rollouts.

    n is what the plan gave the prompt. Half of the kept rollouts are right where there are enough of
    both kinds; those without a verdict come last. A prompt that has rewards but no verdict is not
    sampled further. Advantages are centred and scaled over all rollouts of a prompt, kept or not.

    Args:
        exit: `balanced` ends a prompt after n/2 right and n/2 wrong rollouts, `positive` after the first
            right one.
        rounds: Most rounds of sampling in a step, the first included.
        per_round: Rollouts of each active prompt in a further round; 0: n.

    Raises:
        StrategyError: An option is out of range.

    References:
        Xiong et al., 2025, "Reinforce-Ada: An Adaptive Sampling Framework for Reinforce-Style LLM
        Training", arXiv 2510.04996.

    >>> ReinforceAda(exit="positive", rounds=2).splits_groups
    True
    """

    name: ClassVar[str] = "reinforce-ada"
    changes: ClassVar[str] = "prompts are sampled on until right and wrong answers balance"
    source: ClassVar[str] = "arXiv 2510.04996"
    cost: ClassVar[str] = "further generations"

    exit: Literal["balanced", "positive"] = "balanced"
    rounds: int = 4
    per_round: int = 0

    def __post_init__(self) -> None:
        checks = {
            "exit": (self.exit in ("balanced", "positive"), self.exit, "balanced, positive"),
            "rounds": (self.rounds >= 1, self.rounds, "1 or more"),
            "per_round": (self.per_round >= 0, self.per_round, "0 or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("extend",)

    @property
    def splits_groups(self) -> bool:
        return True

    @property
    def needs_even(self) -> bool:
        return True

    def extend(
        self, state: NoState, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        """Another round for the prompts whose exit condition does not hold yet."""
        if round + 1 >= self.rounds:
            return None
        right_P, wrong_P = groups.successes_P, groups.trials_P - groups.successes_P
        keep = max(1, groups.plan.num_rollouts // groups.plan.num_prompts)
        if self.exit == "balanced":
            done_P = (right_P >= keep // 2) & (wrong_P >= keep // 2)
        else:
            done_P = right_P > 0
        active_P = groups.plan.prompt_P[~done_P & (groups.scored_P | ~groups.rewarded_P)]
        return More(active_P, np.full(len(active_P), self.per_round or keep)) if len(active_P) else None

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Keep n rollouts of each prompt, half of them right where possible."""
        plain = groups.expand(np.ones(len(groups.received_P)))
        if not groups.plan.extended:
            return Weights(plain.weight_R, plain.keep_R, baseline="all")
        return Weights(plain.weight_R, _balanced(groups), baseline="all")


def _balanced(groups: Groups) -> BoolArray:
    """Mask of n rows of each prompt, half right and half wrong where possible, shape (R,)."""
    plan = groups.plan
    keep_P = np.full(plan.num_prompts, plan.num_rollouts // plan.num_prompts)
    keep_P[: plan.num_rollouts % plan.num_prompts] += 1
    right_P, wrong_P = groups.successes_P, groups.trials_P - groups.successes_P
    right_kept_P = np.minimum(right_P, np.maximum(keep_P - keep_P // 2, keep_P - wrong_P))
    wrong_kept_P = np.minimum(wrong_P, keep_P - right_kept_P)
    outcome, position_R = groups.outcome, groups.position_R
    judged_R, correct_R = outcome.judged_mask_R, outcome.correct_R
    kinds = (
        (judged_R & correct_R, right_kept_P),
        (judged_R & ~correct_R, wrong_kept_P),
        (outcome.valid_mask_R & ~judged_R, keep_P - right_kept_P - wrong_kept_P),
    )
    keep_R = np.zeros(len(position_R), bool)
    for kind_R, kept_P in kinds:
        rows = np.flatnonzero(kind_R)
        keep_R[rows] = rank_within(position_R[rows]) < kept_P[position_R[rows]]
    return keep_R
