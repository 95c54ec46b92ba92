"""The adversary over difficulty bins: score rules and ambiguity sets behind Prompt-GDRO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.numerics.ambiguity import chi2_response, cvar_response, entropy_response
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.numerics.bandit import exp3p_steps, hedge_step, importance_estimate, tinf_policy, tinf_step
from gdro.numerics.simplex import mix

Score = Literal["ema", "cumulative", "exp3p", "tinf"]
Ambiguity = Literal["entropy", "cvar", "chi2"]


@dataclass(frozen=True)
class AdversaryState:
    """Score of each bin, shape (B,), and how often each was seen, shape (B,)."""

    score_B: FloatArray
    updates_B: IntArray
    steps: int = 0


@dataclass(frozen=True)
class Seen:
    """What one step showed of the bins.

    Attributes:
        signal_B: Mean signal of each bin's prompts, 0 where a bin is absent, shape (B,).
        count_B: Prompts of each bin, shape (B,).
        num_prompts: Prompts of the step, those that were in no bin yet included.
        probability_B: Probability that a drawn prompt falls in each bin, shape (B,).
    """

    signal_B: FloatArray
    count_B: IntArray
    num_prompts: int
    probability_B: FloatArray


@dataclass(frozen=True)
class Adversary:
    """How scores are updated and turned into a distribution. Options as in `PromptGDRO`."""

    score: Score
    ambiguity: Ambiguity
    eta: float | None
    gamma: float | None
    beta: float
    clip: float
    level: float
    radius: float
    horizon: int
    delta: float

    def updated(self, state: AdversaryState, seen: Seen) -> AdversaryState:
        """The state after one step's signals; bins that were absent keep their `ema` score."""
        seen_B = seen.count_B > 0
        updates_B = state.updates_B + seen_B
        score_B = state.score_B
        if self.score == "ema":
            ema_B = (1.0 - self.beta) * score_B + self.beta * seen.signal_B
            fresh_B = np.where(state.updates_B > 0, ema_B, seen.signal_B)
            score_B = np.where(seen_B, fresh_B, score_B)
        elif self.score == "cumulative":
            score_B = score_B + np.where(seen_B, seen.signal_B, 0.0)
        elif seen_B.any():  # a step without scores must not add the bias to every bin
            score_B = score_B + self._estimate(seen)
        return AdversaryState(score_B, updates_B, state.steps + 1)

    def omega(self, state: AdversaryState) -> FloatArray:
        """Weights of the bins up to a common factor, at most 1; unscored bins have the mean (B,)."""
        known_B = state.updates_B > 0
        score_B = self.clipped(state)
        if known_B.all():
            return self._relative(score_B, state)
        if not known_B.any():
            return np.ones(len(known_B))
        omega_K = self._relative(score_B[known_B], state)
        omega_B = np.full(len(known_B), omega_K.mean())
        omega_B[known_B] = omega_K
        return omega_B

    def distribution(
        self, state: AdversaryState, present_B: BoolArray, prior_B: FloatArray | None = None
    ) -> FloatArray:
        """q over the bins that are present, zero elsewhere (eq. 15), shape (B,); sums to one or zero.

        `cvar` and `chi2` take the share of each bin as the prior; the default is uniform.
        """
        q_B = np.zeros(len(present_B))
        if not present_B.any():
            return q_B
        if self.ambiguity == "entropy":
            logit_B = np.log(np.maximum(self.omega(state)[present_B], 1e-300))
            q_B[present_B] = mix(entropy_response(logit_B, 1.0), self.mixing(len(present_B)))
            return q_B
        share_B = np.ones(len(present_B)) if prior_B is None else prior_B
        inside_B = share_B[present_B] / share_B[present_B].sum()
        q_B[present_B] = self._respond(self._filled(state)[present_B], inside_B)
        return q_B

    def tilt(self, state: AdversaryState, share_B: FloatArray) -> FloatArray:
        """Weight of a prompt of each bin up to a common factor, shape (B,).

        It is omega with entropy (eq. 14), otherwise the density q / share of the worst case.
        """
        if self.ambiguity == "entropy":
            return self.omega(state)
        present_B = share_B > 0
        q_B = self.distribution(state, present_B, share_B)
        return np.divide(q_B, share_B, out=np.zeros(len(q_B)), where=present_B)

    def clipped(self, state: AdversaryState) -> FloatArray:
        """Scores, bounded by `clip` where they are averages, shape (B,)."""
        if self.score != "ema":
            return state.score_B
        return np.minimum(np.maximum(state.score_B, -self.clip), self.clip)

    def step(self, num_bins: int) -> float:
        """eta, or the default of the score: 4 for averages, else the step size of its regret bound."""
        if self.eta is not None:
            return self.eta
        if self.score == "cumulative":
            return hedge_step(num_bins, self.horizon)
        return exp3p_steps(num_bins, self.horizon, self.delta)[0] if self.score == "exp3p" else 4.0

    def mixing(self, num_bins: int) -> float:
        """gamma, or the default of the score: .01 as in the paper, except for EXP3.P and TINF."""
        if self.gamma is not None:
            return self.gamma
        own = {"exp3p": exp3p_steps(num_bins, self.horizon, self.delta)[1], "tinf": 0.0}
        return own.get(self.score, 0.01)

    def _relative(self, score_K: FloatArray, state: AdversaryState) -> FloatArray:
        """Weights of scored bins relative to the largest, shape (K,)."""
        if self.score == "tinf":
            eta = tinf_step(state.steps + 1) if self.eta is None else self.eta
            policy_K = tinf_policy(-score_K, eta)
            return policy_K / policy_K.max()
        return np.exp(self.step(len(state.score_B)) * (score_K - score_K.max()))

    def _estimate(self, seen: Seen) -> FloatArray:
        # Of all prompts of the step, as the probability is: a draw may fall in no bin.
        share_B = seen.count_B / max(1, seen.num_prompts)
        if self.score == "exp3p":
            bias = exp3p_steps(len(share_B), self.horizon, self.delta)[2]
            return importance_estimate(seen.signal_B, share_B, seen.probability_B, bias)
        # TINF works on losses: estimating 1 - signal keeps the leader's estimate bounded.
        return -importance_estimate(1.0 - seen.signal_B, share_B, seen.probability_B)

    def _filled(self, state: AdversaryState) -> FloatArray:
        known_B = state.updates_B > 0
        score_B = self.clipped(state)
        return np.where(known_B, score_B, score_B[known_B].mean() if known_B.any() else 0.0)

    def _respond(self, score_B: FloatArray, prior_B: FloatArray) -> FloatArray:
        if self.ambiguity == "cvar":
            response_B = cvar_response(score_B, self.level, prior_B)
        else:
            response_B = chi2_response(score_B, self.radius, prior_B)
        gamma = self.mixing(len(score_B))
        return (1.0 - gamma) * response_B + gamma * prior_B
