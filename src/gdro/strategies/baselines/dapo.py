"""DAPO's dynamic sampling: refill groups without gradient by fresh prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.sampling import draw_outside
from gdro.strategy import More, NoState, Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class Dapo(Strategy[NoState]):
    """Dynamic sampling: drop groups whose rewards agree, sample fresh prompts until the batch is full.

    Groups are kept in the order of their generation until the loss has its rows. After
    `max_num_gen_batches` batches, or when no fresh prompts are left, the missing rows stay without a
    gradient. Dropped rollouts count as spent in the ledger.

    Args:
        max_num_gen_batches: Most batches to generate in a step, the first included.
        refill: `batch` generates as many prompts as the first time, as published; `missing` only as
            many as are missing, which spends less and needs more rounds.

    Raises:
        StrategyError: An option is out of range.

    References:
        Yu et al., 2025, "DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
        arXiv 2503.14476, section 3.2.

    >>> Dapo(refill="missing").roles
    ('extend',)
    """

    name: ClassVar[str] = "dapo"
    changes: ClassVar[str] = "groups without gradient are replaced by fresh prompts"
    source: ClassVar[str] = "arXiv 2503.14476, section 3.2"
    cost: ClassVar[str] = "further generations"

    max_num_gen_batches: int = 10
    refill: str = "batch"

    def __post_init__(self) -> None:
        batches = self.max_num_gen_batches
        checks = {
            "max_num_gen_batches": (batches >= 1, batches, "1 or more"),
            "refill": (self.refill in ("batch", "missing"), self.refill, "batch, missing"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("extend",)

    def extend(
        self, state: NoState, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        """Fresh prompts while rows with a gradient are missing."""
        plan = groups.plan
        missing = plan.num_rollouts - int(groups.rows_P[groups.has_gradient_P].sum())
        each = max(1, plan.num_rollouts // plan.num_prompts)
        if missing < each or round + 1 >= self.max_num_gen_batches:
            return None
        wanted = plan.num_prompts if self.refill == "batch" else missing // each
        fresh_P = draw_outside(belief.num_prompts, plan.prompt_P, wanted, rng)
        return More(fresh_P, np.full(len(fresh_P), each)) if len(fresh_P) else None

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Keep whole groups with a gradient, in the order of their generation."""
        if not groups.plan.extended:
            return groups.expand(np.ones(len(groups.received_P)))
        return groups.keep_first(groups.has_gradient_P)
