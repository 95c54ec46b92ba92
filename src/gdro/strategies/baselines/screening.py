"""What `speed` and `pilot-commit` share: small groups first, and more rollouts for some of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.numerics.arrays import BoolArray, IntArray
from gdro.strategy import More
from gdro.types import Plan


@dataclass(frozen=True)
class Screening:
    """How many rollouts a screened prompt has, and how many one that goes on gets.

    Attributes:
        plan: The plan, whose own rollouts screen its prompts.
        each: Rollouts of a screening, n.
        further: Rollouts of a prompt that goes on, beyond its screening.
        room: Prompts that go on in a step.
    """

    plan: Plan
    each: int
    further: int
    room: int

    @classmethod
    def of(cls, plan: Plan, factor: float) -> Screening:
        """The screening of a plan, where prompts that go on get `factor` times n more rollouts."""
        each = max(1, plan.num_rollouts // plan.num_prompts)
        further = max(1, int(np.floor(factor * each + 0.5)))  # halves round up
        return cls(plan, each, further, max(1, plan.num_rollouts // (each + further)))

    def of_fresh(self, prompt_P: IntArray) -> More:
        """Screenings of further prompts."""
        return More(prompt_P, np.full(len(prompt_P), self.each))

    def going_on(self, passed_P: IntArray) -> More | None:
        """More rollouts for the prompts at these places of the plan, as many as fit in the loss."""
        size_K = self.plan.rollouts_P[passed_P] + self.further
        fits = int(np.count_nonzero(np.cumsum(size_K) <= self.plan.num_rollouts))
        chosen_P = self.plan.prompt_P[passed_P[: max(1, fits)]]
        return More(chosen_P, np.full(len(chosen_P), self.further)) if len(chosen_P) else None


def went_on(plan: Plan) -> BoolArray:
    """Prompts that got rollouts beyond their screening, shape (P,)."""
    return plan.rollouts_P > plan.first_P
