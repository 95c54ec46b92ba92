"""MoPPS: Thompson draws of the pass rate, prompts nearest to a target."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from gdro.checkpoint.codec import within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.persistent import PersistentArray
from gdro.strategy import Role, Strategy, require
from gdro.types import Request


@dataclass(frozen=True)
class Posterior:
    """Beta posterior of each prompt's pass rate, shape (N,) each."""

    alpha_N: PersistentArray = field(metadata=within(sys.float_info.min))
    beta_N: PersistentArray = field(metadata=within(sys.float_info.min))


@dataclass(frozen=True)
class Mopps(Strategy[Posterior]):
    """Model predictive prompt selection: Thompson draws near a target pass rate.

    A candidate's pass rate is drawn from its posterior, g ~ Beta(alpha, beta); `topk` takes those with
    the smallest (g - target)^2, `band` those with low <= g <= high, and the nearest to it if too few.
    At a visit with s successes of n: alpha <- decay alpha + (1 - decay) prior + s, and likewise beta
    with n - s.

    Args:
        target: Pass rate to draw near to with `topk`, 0 to 1.
        rule: `topk` (nearest to the target) or `band` (between `low` and `high`).
        low: Lower end of the band, 0 to `high`.
        high: Upper end of the band, at most 1.
        decay: lambda, the factor on the old counts at a visit, 0 to 1.
        candidates: Candidates drawn uniformly for each prompt of the batch.
        prior: Both parameters of the Beta prior, above 0.

    Raises:
        StrategyError: An option is out of range.

    References:
        Qu et al., 2025, "Can Prompt Difficulty be Online Predicted for Accelerating RL Finetuning of
        Reasoning Models?", arXiv 2507.04632.

    >>> from gdro import Controller, Problem
    >>> controller = Controller(Mopps(target=0.4), Problem(["a", "b", "c"]), seed=0)
    >>> len(controller.plan(Request(num_prompts=2, num_rollouts=8)).prompt_P)
    2
    """

    name: ClassVar[str] = "mopps"
    changes: ClassVar[str] = "which prompts are drawn: those likely near a target pass rate"
    source: ClassVar[str] = "arXiv 2507.04632"

    target: float = 0.5
    rule: Literal["topk", "band"] = "topk"
    low: float = 0.3
    high: float = 0.7
    decay: float = 0.5
    candidates: int = 16
    prior: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "target": (0 <= self.target <= 1, self.target, "0 to 1"),
            "rule": (self.rule in ("topk", "band"), self.rule, "topk, band"),
            "low": (0 <= self.low <= self.high, self.low, f"0 to high={self.high}"),
            "high": (self.high <= 1, self.high, "at most 1"),
            "decay": (0 <= self.decay <= 1, self.decay, "0 to 1"),
            "candidates": (self.candidates >= 1, self.candidates, "1 or more"),
            "prior": (0 < self.prior < np.inf, self.prior, "above 0, finite"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def init(self, num_prompts: int, num_bins: int) -> Posterior:
        prior_N = np.full(num_prompts, float(self.prior))
        return Posterior(PersistentArray(prior_N), PersistentArray(prior_N))

    def select(
        self, state: Posterior, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        num = belief.num_prompts
        pool_C = rng.choice(num, min(num, self.candidates * request.num_prompts), replace=False)
        alpha_C: FloatArray = state.alpha_N[pool_C]
        beta_C: FloatArray = state.beta_N[pool_C]
        drawn_C: FloatArray = rng.beta(alpha_C, beta_C)
        rate_C = belief.skill(pool_C, drawn_C)
        if self.rule == "topk":
            distance_C = np.abs(rate_C - self.target)
        else:
            distance_C = np.maximum(np.maximum(self.low - rate_C, rate_C - self.high), 0.0)
        # Candidates came in random order, so a stable sort breaks ties at random.
        return pool_C[np.argsort(distance_C, kind="stable")[: request.num_prompts]]

    def update(self, state: Posterior, belief: Belief, groups: Groups) -> Posterior:
        """Decay towards the prior and count the visit."""
        scored_P = groups.scored_P
        prompt_P = groups.plan.prompt_P[scored_P]
        success_P = groups.successes_P[scored_P]
        failure_P = groups.trials_P[scored_P] - success_P
        base = (1.0 - self.decay) * self.prior
        alpha_P = self.decay * state.alpha_N[prompt_P] + base + success_P
        beta_P = self.decay * state.beta_N[prompt_P] + base + failure_P
        return Posterior(state.alpha_N.put(prompt_P, alpha_P), state.beta_N.put(prompt_P, beta_P))
