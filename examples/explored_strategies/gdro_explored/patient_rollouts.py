"""Rollout-GDRO that gives up: prompts that many visits did not solve get the fewest rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import BoolArray, IntArray
from gdro.strategies.rollout_gdro import PriceState, RolloutGDRO
from gdro.strategy import Draft, require


@dataclass(frozen=True)
class PatientRollouts(RolloutGDRO):
    """Rollout-GDRO with `n_min` rollouts for prompts that were never solved in many visits.

    It lost where such prompts are learned later from others (docs/log.md): giving up saves rollouts,
    and with them the first successes.

    Args:
        patience: Visits without any success after which a prompt gets only n_min rollouts; it gets its
            full share again at visits number 2, 4, 8, ... times `patience`.

    Raises:
        StrategyError: An option is out of range.

    >>> PatientRollouts(patience=3).roles
    ('allocate',)
    """

    name: ClassVar[str] = "patient-rollouts"
    source: ClassVar[str] = "gdro, docs/log.md"

    patience: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.name, {"patience": (self.patience >= 1, self.patience, "1 or more")})

    def allocate(
        self, state: PriceState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        """Rollout-GDRO's allocation of the prompts that are not deferred, at the same total."""
        deferred_P = self.deferred(belief, draft)
        rollouts_P: npt.NDArray[np.int64] = np.full(len(draft.prompt_P), self.n_min)
        others = Draft(
            draft.prompt_P[~deferred_P],
            draft.bin_P[~deferred_P],
            draft.num_rollouts - self.n_min * int(deferred_P.sum()),
        )
        rollouts_P[~deferred_P] = super().allocate(state, belief, others, rng)
        return rollouts_P

    def deferred(self, belief: Belief, draft: Draft) -> BoolArray:
        """Prompts that many visits did not solve and that are not due again, shape (P,).

        Those of most visits first, and never so many that the others could not take what is left.
        """
        prompt_P, spare = draft.prompt_P, len(draft.prompt_P) * self.n_max - draft.num_rollouts
        visit_P, (success_P, _) = belief.visits_N[prompt_P], belief.counts(prompt_P)
        round_P = visit_P / self.patience
        wanted_P = (success_P <= 0) & (round_P >= 1) & ~np.isin(round_P, 2.0 ** np.arange(31))
        most = min(int(wanted_P.sum()), spare // max(1, self.n_max - self.n_min), len(prompt_P) - 1)
        deferred_P = np.zeros(len(prompt_P), bool)
        deferred_P[np.argsort(np.where(wanted_P, -visit_P, 1), kind="stable")[:most]] = True
        return deferred_P
