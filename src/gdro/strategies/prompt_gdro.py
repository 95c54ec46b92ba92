"""Prompt-GDRO: an exponential-weights adversary over difficulty bins (eq. 12-16)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty import Belief
from gdro.errors import OutcomeError
from gdro.groups import Groups
from gdro.numerics.sampling import draw_by_bin
from gdro.numerics.simplex import mean_one, mix, softmax
from gdro.strategy import Strategy, require
from gdro.types import BoolArray, FloatArray, IntArray, Request, Weights

_ASLEEP = 0.01  # signal below which the adversary moves no weight worth speaking of
_ASLEEP_AFTER = 20  # updates before saying so


@dataclass(frozen=True)
class AdversaryState:
    """Score of each bin, shape (B,), and how often each was seen, shape (B,)."""

    score_B: FloatArray
    updates_B: IntArray
    steps: int = 0


@dataclass(frozen=True)
class PromptGDRO(Strategy[AdversaryState]):
    """Weight or resample prompts by an adversary over difficulty bins (METHOD section 4).

    Args:
        eta: Step size on the score. 4 spans weights of 1 to 55 for a signal in [0, 1]; the paper's
            .65 spans 1 to 1.9.
        gamma: Share of the uniform distribution in q (eq. 15).
        beta: Weight of the newest signal in the moving average (eq. 13).
        signal: `failure` (1 - success rate), `reward` (minus the mean reward), or `surrogate` (the
            paper's clipped loss; zero on policy, needs `loss_R`).
        share_divided: Divide the signal by the bin's share of the batch, as the released code does.
        score: `ema` (paper) or `cumulative` (Hedge: the sum of signals, no clip).
        clip: C, bound on the score's absolute value (`ema`).
        cap: omega_max, largest weight.
        normalise: `mean_one` over the plan's prompts, `mean_one_active` over mixed groups,
            `raw` omega (eq. 16), or `probability` q.
        mode: `reweight` advantages (the paper) or `resample` prompts.
        importance_weight: With `resample`, weight rows so that the expected gradient is that of
            uniform sampling.

    Raises:
        StrategyError: An option is out of range.
    """

    name: ClassVar[str] = "prompt-gdro"
    changes: ClassVar[str] = "weight of each prompt (or which prompts are drawn)"
    source: ClassVar[str] = "arXiv 2601.19280, eq. 12-16"

    eta: float = 4.0
    gamma: float = 0.01
    beta: float = 0.12
    signal: Literal["failure", "reward", "surrogate"] = "failure"
    share_divided: bool = False
    score: Literal["ema", "cumulative"] = "ema"
    clip: float = 10.0
    cap: float = 15.0
    normalise: Literal["mean_one", "mean_one_active", "raw", "probability"] = "mean_one"
    mode: Literal["reweight", "resample"] = "reweight"
    importance_weight: bool = False

    def __post_init__(self) -> None:
        norms = ("mean_one", "mean_one_active", "raw", "probability")
        checks = {
            "eta": (0 <= self.eta < np.inf, self.eta, "0 or more, finite"),
            "gamma": (0 <= self.gamma <= 1, self.gamma, "0 to 1"),
            "beta": (0 < self.beta <= 1, self.beta, "above 0, at most 1"),
            "signal": (
                self.signal in ("failure", "reward", "surrogate"),
                self.signal,
                "failure, reward, surrogate",
            ),
            "score": (self.score in ("ema", "cumulative"), self.score, "ema, cumulative"),
            "clip": (self.clip > 0, self.clip, "above 0"),
            "cap": (self.cap >= 1, self.cap, "1 or more"),
            "normalise": (self.normalise in norms, self.normalise, ", ".join(norms)),
            "mode": (self.mode in ("reweight", "resample"), self.mode, "reweight, resample"),
            "importance_weight": (
                self.mode == "resample" or not self.importance_weight,
                self.importance_weight,
                "True only with mode='resample'",
            ),
        }
        require(self.name, checks)

    @property
    def selects(self) -> bool:
        """True when resampling."""
        return self.mode == "resample"

    @property
    def needs_loss(self) -> bool:
        """True for the surrogate signal."""
        return self.signal == "surrogate"

    def init(self, num_prompts: int, num_bins: int) -> AdversaryState:
        """No bin seen yet."""
        return AdversaryState(np.zeros(num_bins), np.zeros(num_bins, np.int64))

    def omega(self, state: AdversaryState) -> FloatArray:
        """Exponential weights of the bins up to a common factor, at most 1, shape (B,)."""
        score_B = state.score_B
        if self.score == "ema":
            score_B = np.clip(score_B, -self.clip, self.clip)
        known_B = state.updates_B > 0
        top = score_B[known_B].max() if known_B.any() else 0.0
        return np.exp(self.eta * (score_B - top))

    def probabilities(self, state: AdversaryState, present_B: BoolArray) -> FloatArray:
        """q over bins that are present (eq. 15); a bin never scored has the average weight."""
        q_B = np.zeros(len(present_B))
        if not present_B.any():
            return q_B
        logit_B = np.log(np.maximum(self._filled(state, self.omega(state)), 1e-300))
        q_B[present_B] = mix(softmax(logit_B[present_B]), self.gamma)
        return q_B

    def select(
        self, state: AdversaryState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Draw by bin with probability q when resampling; unseen prompts keep their share."""
        if self.mode == "reweight":
            return super().select(state, belief, request, rng)
        return draw_by_bin(belief.bin_N, self._bin_mass(state, belief), request.num_prompts, rng)

    def importance(self, state: AdversaryState, belief: Belief, bin_P: IntArray) -> FloatArray:
        """Share of the bin in the pool over its probability, at most `cap`, shape (P,)."""
        size_C = np.bincount(belief.bin_N.astype(np.int64) + 1, minlength=1 + len(state.score_B))
        mass_P = self._bin_mass(state, belief)[bin_P + 1]
        share_P = size_C[bin_P + 1] / size_C.sum()
        return np.minimum(np.where(mass_P > 0, share_P / np.maximum(mass_P, 1e-12), 1.0), self.cap)

    def weigh(self, state: AdversaryState, belief: Belief, groups: Groups) -> Weights:
        """Weights by the plan's own bins; unseen prompts and bins without a score have one."""
        bin_P = groups.plan.bin_P
        if self.mode == "resample":
            # As it was when the prompts were drawn: a plan may be weighed late.
            weight_P = groups.plan.importance_P if self.importance_weight else np.ones(len(bin_P))
            return groups.expand(weight_P)
        weight_P = np.ones(len(bin_P))
        scored_P = (bin_P >= 0) & (state.updates_B[bin_P] > 0)
        if scored_P.any():
            weight_P[scored_P] = self._normalised(state, bin_P[scored_P], groups.mixed_P[scored_P])
        return groups.expand(weight_P)

    def update(self, state: AdversaryState, belief: Belief, groups: Groups) -> AdversaryState:
        """Move the score of every bin that the plan holds (eq. 12-13)."""
        bin_P = groups.plan.bin_P
        use_P = (bin_P >= 0) & groups.scored_P
        num_bins = len(state.score_B)
        count_B = np.bincount(bin_P[use_P], minlength=num_bins)
        total_B = np.bincount(bin_P[use_P], self._signal(groups)[use_P], num_bins)
        seen_B = count_B > 0
        signal_B = total_B / np.maximum(count_B, 1)
        if self.share_divided:
            signal_B = signal_B / np.maximum(count_B / max(1, count_B.sum()), 1e-12)
        if self.score == "cumulative":
            moved_B = state.score_B + signal_B
        else:
            ema_B = (1.0 - self.beta) * state.score_B + self.beta * signal_B
            moved_B = np.where(state.updates_B > 0, ema_B, signal_B)
        score_B = np.where(seen_B, moved_B, state.score_B)
        updates_B = state.updates_B + seen_B
        self._warn_asleep(score_B, updates_B, state.steps + 1)
        return AdversaryState(score_B, updates_B, state.steps + 1)

    def metrics(self, state: AdversaryState) -> dict[str, float]:
        """Entropy of q over scored bins (nats) and the largest absolute score."""
        q_B = self.probabilities(state, state.updates_B > 0)
        positive = q_B[q_B > 0]
        return {
            "adversary_entropy": float(-(positive * np.log(positive)).sum()),
            "adversary_max_score": float(np.abs(state.score_B).max()),
        }

    def by_bin(self, state: AdversaryState) -> dict[str, FloatArray]:
        """Score and q of each bin."""
        return {"score": state.score_B, "q": self.probabilities(state, state.updates_B > 0)}

    def _signal(self, groups: Groups) -> FloatArray:
        if self.signal == "failure":
            return groups.failure_P
        if self.signal == "reward":
            return -groups.reward_P
        if groups.loss_P is None:
            raise OutcomeError(
                "prompt-gdro with signal='surrogate' got no losses; pass observe(outcome, loss_R=...) "
                "after the update, or use signal='failure'"
            )
        return groups.loss_P

    def _filled(self, state: AdversaryState, omega_B: FloatArray) -> FloatArray:
        """Bins never scored get the mean weight of the scored ones."""
        known_B = state.updates_B > 0
        mean = float(omega_B[known_B].mean()) if known_B.any() else 1.0
        return np.where(known_B, omega_B, mean)

    def _normalised(self, state: AdversaryState, bin_P: IntArray, mixed_P: BoolArray) -> FloatArray:
        if self.normalise == "raw":
            score_B = state.score_B
            if self.score == "ema":
                score_B = np.clip(score_B, -self.clip, self.clip)
            # The cap is applied in the log domain, where a long cumulative score cannot overflow.
            return np.exp(np.minimum(self.eta * score_B, np.log(self.cap)))[bin_P]
        if self.normalise == "probability":
            present_B = np.bincount(bin_P, minlength=len(state.score_B)) > 0
            return np.minimum(self.probabilities(state, present_B)[bin_P], self.cap)
        omega_P = np.maximum(self.omega(state)[bin_P], 1e-300)
        if self.normalise == "mean_one" or not mixed_P.any():
            return mean_one(omega_P, self.cap)
        # All-wrong groups have no gradient and would soak up the weight.
        weight_P = np.ones(len(bin_P))
        weight_P[mixed_P] = mean_one(omega_P[mixed_P], self.cap)
        return weight_P

    def _bin_mass(self, state: AdversaryState, belief: Belief) -> FloatArray:
        """Probability of the unseen prompts (first) and of each bin, shape (1 + B,)."""
        size = np.bincount(belief.bin_N.astype(np.int64) + 1, minlength=1 + len(state.score_B))
        unseen = size[0] / size.sum()
        q_B = self.probabilities(state, size[1:] > 0)
        return np.concatenate([[unseen], (1.0 - unseen) * q_B])

    def _warn_asleep(self, score_B: FloatArray, updates_B: IntArray, steps: int) -> None:
        if steps != _ASLEEP_AFTER or self.signal != "surrogate":
            return
        largest = float(np.abs(score_B[updates_B > 0]).max(initial=0.0))
        if largest < _ASLEEP:
            warnings.warn(
                f"prompt-gdro: after {steps} updates the largest score is {largest:.2g}; on policy the "
                "surrogate of normalised advantages is zero, so the adversary is asleep. Use "
                "signal='failure'.",
                stacklevel=2,
            )
