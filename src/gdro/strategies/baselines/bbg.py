"""BBG: no update of prompts whose pass@k is saturated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.passk import passk_posterior
from gdro.strategy import NoState, Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class BBG(Strategy[NoState]):
    """Bayesian boundary gating: weight 0 for prompts that k attempts would solve anyway, else 1.

    A prompt's pass rate has the Beta posterior of its earlier visits. Its pass@k can still rise by at
    most E[(1 - p)^k], the chance that k attempts all fail; the prompt is saturated where that is below
    `room`. For large k a single earlier success is enough. Prompts that were never visited count.
    The paper's threshold and prior were not available to us: the gate follows its abstract, with the
    tracker's posterior (`Difficulty`), whose counts fade.

    Args:
        k: Attempts in pass@k.
        room: Expected rise of pass@k below which a prompt is saturated, above 0, below 1.

    Raises:
        StrategyError: An option is out of range.

    References:
        Yuan et al., 2026, "Understanding Diversity Collapse in RLVR via the Lens of Overtraining",
        arXiv 2606.15455.

    >>> BBG(k=8).waits_for
    'visits'
    """

    name: ClassVar[str] = "bbg"
    changes: ClassVar[str] = "prompts that k attempts would solve anyway are not trained on"
    source: ClassVar[str] = "arXiv 2606.15455, its abstract"

    k: int = 256
    room: float = 0.05

    def __post_init__(self) -> None:
        checks = {
            "k": (1 <= self.k <= 100_000, self.k, "1 to 100000"),
            "room": (0 < self.room < 1, self.room, "above 0, below 1"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("weigh",)

    @property
    def waits_for(self) -> Literal["", "bin", "visits"]:
        return "visits"

    def weigh(self, state: NoState, belief: Belief, groups: Groups, rng: np.random.Generator) -> Weights:
        """Zero for visited prompts whose pass@k is saturated."""
        prompt_P = groups.plan.prompt_P
        alpha_P, beta_P = belief.posterior(prompt_P)
        room_P = 1.0 - passk_posterior(alpha_P, beta_P, self.k)
        saturated_P = (belief.visits_N[prompt_P] > 0) & (room_P < self.room)
        return groups.expand(np.where(saturated_P, 0.0, 1.0))
