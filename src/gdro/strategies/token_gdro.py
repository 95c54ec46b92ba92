"""Token-GDRO: reallocate rollouts without generating more tokens than equal groups would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.budget import greedy
from gdro.numerics.passk import Utility, utilities
from gdro.numerics.persistent import PersistentArray
from gdro.numerics.ragged import segments
from gdro.numerics.two_budgets import greedy_within
from gdro.strategy import Allocator, Draft, require


@dataclass(frozen=True)
class LengthState:
    """Running means of the tokens of a rollout, and the bill so far.

    Attributes:
        tokens_N: Mean of each prompt, 0 where no token was counted, shape (N,).
        tokens_B: Mean of each bin's prompts, shape (B,).
        tokens: Mean of all prompts.
        expected: Tokens that the plans were expected to take.
        allowed: Tokens that equal groups of the same prompts were expected to take.
        spent: Tokens that were generated.
    """

    tokens_N: PersistentArray
    tokens_B: FloatArray
    tokens: float = 0.0
    expected: float = 0.0
    allowed: float = 0.0
    spent: float = 0.0


@dataclass(frozen=True)
class TokenGDRO(Allocator[LengthState]):
    """Rollout-GDRO under two budgets: as many rollouts as GRPO, and no more tokens.

    maximise sum_i U_b(i)(n_i)  with  sum_i n_i = n_bar P  and  sum_i l_i n_i <= n_bar sum_i l_i

    U is the utility of Rollout-GDRO and l_i the tokens that a rollout of prompt i is expected to take: a
    running mean of its own visits, of its bin before the first, of all prompts before that. Hard prompts
    often have long answers, so that Rollout-GDRO, which gives them more rollouts, generates more tokens
    than GRPO with equal groups. Here a price on tokens rises until the plan does not. The limit holds in
    expectation; the metrics say how far the tokens that came back were off.

    Without token counts, or if all answers are equally long, the plans are Rollout-GDRO's.

    Args:
        n_min: Fewest rollouts of a prompt, at least 2.
        n_max: Most rollouts of a prompt.
        utility: Of n rollouts: `discovery`, `failure`, `mixed`, `hit`, `variance`.
        length_ema: Weight of the newest visit in a running mean of tokens, above 0, at most 1.

    Raises:
        StrategyError: An option is out of range.

    References:
        Panaganti et al., 2026, "Group Distributionally Robust Optimization-Driven Reinforcement Learning
        for LLM Reasoning", arXiv 2601.19280, eq. 17-18; the limit on tokens is ours.

    >>> TokenGDRO(n_max=8).bounds
    Bounds(strategy='token-gdro', n_min=2, n_max=8)
    """

    name: ClassVar[str] = "token-gdro"
    changes: ClassVar[str] = "rollouts of each prompt, total and expected tokens constant"
    source: ClassVar[str] = "arXiv 2601.19280, eq. 17-18, with a limit on tokens"

    utility: Utility = "discovery"
    length_ema: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        known = get_args(Utility)
        checks = {
            "utility": (self.utility in known, self.utility, ", ".join(known)),
            "length_ema": (0 < self.length_ema <= 1, self.length_ema, "above 0, at most 1"),
        }
        require(self.name, checks)

    @property
    def waits_for(self) -> Literal["bin"]:
        return "bin"

    def init(self, num_prompts: int, num_bins: int) -> LengthState:
        return LengthState(PersistentArray(np.zeros(num_prompts, np.float32)), np.zeros(num_bins))

    def allocate(
        self, state: LengthState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        """Allocation at an exact total; unseen prompts get the mean number of rollouts."""

        def spread(prompt_P: IntArray, bin_P: IntArray, total: int) -> IntArray:
            length_P = expected_length(state, prompt_P, bin_P)
            return self._within(belief, prompt_P, bin_P, total, length_P)

        return self.over_seen(draft, spread)

    def update(self, state: LengthState, belief: Belief, groups: Groups) -> LengthState:
        """Update the running means, and the bill, by the tokens that were generated."""
        tokens_R, valid_R = groups.outcome.tokens_R, groups.outcome.valid_mask_R
        place_P = np.flatnonzero(groups.rows_P > 0)
        if tokens_R is None or not len(place_P):
            return state
        prompt_P, bin_P = groups.plan.prompt_P[place_P], groups.plan.bin_P[place_P]
        count_P = groups.rows_P[place_P]
        # Rows without a reward change nothing, as if they had not come back.
        total_P = np.bincount(groups.position_R, tokens_R * valid_R)[place_P]
        mean_P = total_P / count_P
        before_P = expected_length(state, prompt_P, bin_P)
        expected_P = np.where(before_P > 0, before_P, mean_P)
        known_P = state.tokens_N[prompt_P].astype(float)
        seen_P = np.where(known_P > 0, known_P, mean_P)
        return LengthState(
            state.tokens_N.put(prompt_P, self._mixed(seen_P, mean_P).astype(np.float32)),
            self._by_bin(state.tokens_B, bin_P, mean_P),
            float(self._mixed(np.array([state.tokens]), np.array([mean_P.mean()]))[0]),
            state.expected + float(expected_P @ count_P),
            state.allowed + float(expected_P.mean() * count_P.sum()),
            state.spent + float(total_P.sum()),
        )

    def metrics(self, state: LengthState) -> dict[str, float]:
        """Tokens over those of equal groups, as a share: expected from the plans, and generated."""
        allowed = max(state.allowed, 1.0)
        return {
            "tokens_expected": state.expected / allowed - 1.0 if state.allowed else 0.0,
            "tokens_generated": state.spent / allowed - 1.0 if state.allowed else 0.0,
        }

    def _by_bin(self, tokens_B: FloatArray, bin_P: IntArray, mean_P: FloatArray) -> FloatArray:
        in_bin_P = bin_P >= 0
        count_B = np.bincount(bin_P[in_bin_P], minlength=len(tokens_B))
        total_B = np.bincount(bin_P[in_bin_P], mean_P[in_bin_P], len(tokens_B))
        newest_B = total_B / np.maximum(count_B, 1)
        return np.where(count_B > 0, self._mixed(tokens_B, newest_B), tokens_B)

    def _mixed(self, old: FloatArray, new: FloatArray) -> FloatArray:
        return np.where(old > 0, old + self.length_ema * (new - old), new)

    def _within(
        self, belief: Belief, prompt_P: IntArray, bin_P: IntArray, total: int, length_P: FloatArray
    ) -> IntArray:
        """Rollout-GDRO's plan, or if it takes more tokens than equal groups, the best that does not."""
        alpha_P, beta_P = belief.posterior(prompt_P)
        arm_A = np.arange(self.n_min, self.n_max + 1)
        by_bin = segments(bin_P)
        value_BA = by_bin.mean(utilities(self.utility, alpha_P, beta_P, arm_A))
        rollouts_P = by_bin.spread(greedy(value_BA, total, self.n_min, by_bin.count_K))
        limit = float(length_P.mean()) * total
        # Rounding of sums must not tell equal lengths apart.
        if float(rollouts_P @ length_P) <= limit * (1.0 + 1e-9):
            return rollouts_P
        value_PA = value_BA[np.searchsorted(by_bin.label_K, bin_P)]
        return greedy_within(value_PA, total, self.n_min, length_P, limit)[0]


def expected_length(state: LengthState, prompt_P: IntArray, bin_P: IntArray) -> FloatArray:
    """Tokens that a rollout of each prompt is expected to take, 0 before any was counted, shape (P,)."""
    own_P = state.tokens_N[prompt_P].astype(float)
    of_bin_P = np.where(bin_P >= 0, state.tokens_B[bin_P], 0.0)
    return np.where(own_P > 0, own_P, np.where(of_bin_P > 0, of_bin_P, state.tokens))
