"""Prompt-GDRO: an exponential-weights adversary over difficulty bins (eq. 12-16)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.errors import OutcomeError
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.simplex import mean_one
from gdro.strategies.adversary import Adversary, AdversaryState, Ambiguity, Score, Seen
from gdro.strategy import Role, Strategy, one_of, require
from gdro.types import Request, Weights

Signal = Literal["failure", "reward", "surrogate"]
Normalise = Literal["mean_one", "mean_one_active", "raw", "probability"]
Mode = Literal["reweight", "resample"]

_ASLEEP = 0.01  # largest score below which the adversary hardly changes any weight
_ASLEEP_AFTER = 20  # updates before the warning


@dataclass(frozen=True)
class PromptGDRO(Strategy[AdversaryState]):
    """Weight or resample prompts by an adversary over difficulty bins (arXiv 2601.19280, eq. 12-16).

    S(b) <- (1 - beta) S(b) + beta (mean signal of the bin's prompts)         (13, `ema`)
    omega(b) = exp(eta clip(S(b), -C, C))                                     (14)
    q(b) = (1 - gamma) omega(b) / sum omega + gamma / B                       (15)
    advantages are multiplied by omega(b) scaled to mean one, at most `cap`   (16, `reweight`)
    or prompts are drawn by bin with probability q(b)                         (`resample`)

    Args:
        eta: Step size on the score, 0 or more. Default: 4 for `ema` (weights of 1 to 55 for a signal in
            [0, 1]; the paper's .65 spans 1 to 1.9), otherwise that of the score's regret bound.
        gamma: Share of the uniform distribution in q (eq. 15), 0 to 1. Default: .01 (paper), or that of
            the score's regret bound.
        beta: Weight of the newest signal in the moving average (eq. 13), above 0, at most 1.
        signal: `failure` (1 - success rate), `reward` (minus the mean reward), or `surrogate` (the
            paper's clipped loss; zero on policy, needs `loss_R`).
        share_divided: Whether to divide the signal by the bin's share of the batch, as the released
            code does.
        score: `ema` (paper), `cumulative` (Hedge: the sum of signals, no clip), or `exp3p` and
            `tinf` (bandit feedback with importance weights; arXiv 2212.13669).
        ambiguity: The set of the worst case: `entropy` (exponential weights, the paper), `cvar` or
            `chi2` (exact best response to the average score).
        level: Share of the prompts that `cvar` may put all weight on, above 0, at most 1.
        radius: Radius of the `chi2` ball, 0 or more.
        horizon: Number of steps that the step sizes of `cumulative` and `exp3p` are set for.
        delta: Probability with which the bound of `exp3p` may fail, between 0 and 1.
        clip: C, bound on the score's absolute value (`ema`), above 0.
        cap: omega_max, the largest weight, 1 or more.
        normalise: `mean_one` over the prompts that the loss sees, `mean_one_active` over those with a
            gradient (rewards that differ), `raw` omega (eq. 16), or `probability` q.
        mode: `reweight` advantages (the paper) or `resample` prompts.
        importance_weight: With `resample`, whether to weight rows so that the expected gradient is that
            of uniform sampling.

    Raises:
        StrategyError: An option is out of range.

    References:
        Panaganti et al., 2026, "Group Distributionally Robust Optimization-Driven Reinforcement Learning
        for LLM Reasoning", arXiv 2601.19280, eq. 12-16.
        Soma et al., 2022, "Near-Optimal Algorithms for Group Distributionally Robust Optimization and
        Beyond", arXiv 2212.13669 (`exp3p`, `tinf`).
        Duchi and Namkoong, 2018, "Learning Models with Uniform Performance via Distributionally Robust
        Optimization", arXiv 1810.08750 (`cvar`, `chi2`).

    >>> PromptGDRO().eta, PromptGDRO(mode="resample").roles
    (4.0, ('select',))
    """

    name: ClassVar[str] = "prompt-gdro"
    changes: ClassVar[str] = "weight of each prompt (or which prompts are drawn)"
    source: ClassVar[str] = "arXiv 2601.19280, eq. 12-16"

    eta: float | None = None
    gamma: float | None = None
    beta: float = 0.12
    signal: Signal = "failure"
    share_divided: bool = False
    score: Score = "ema"
    ambiguity: Ambiguity = "entropy"
    level: float = 0.5
    radius: float = 1.0
    horizon: int = 1000
    delta: float = 0.05
    clip: float = 10.0
    cap: float = 15.0
    normalise: Normalise = "mean_one"
    mode: Mode = "reweight"
    importance_weight: bool = False

    def __post_init__(self) -> None:
        if self.score == "ema":
            object.__setattr__(self, "eta", 4.0 if self.eta is None else self.eta)
            object.__setattr__(self, "gamma", 0.01 if self.gamma is None else self.gamma)
        exponential = self.ambiguity == "entropy" and self.score in ("ema", "cumulative")
        checks = {
            "eta": (self.eta is None or 0 <= self.eta < np.inf, self.eta, "0 or more, finite"),
            "gamma": (self.gamma is None or 0 <= self.gamma <= 1, self.gamma, "0 to 1"),
            "beta": (0 < self.beta <= 1, self.beta, "above 0, at most 1"),
            "signal": one_of(self.signal, Signal),
            "score": one_of(self.score, Score),
            "ambiguity": one_of(self.ambiguity, Ambiguity),
            "level": (0 < self.level <= 1, self.level, "above 0, at most 1"),
            "radius": (0 <= self.radius < np.inf, self.radius, "0 or more, finite"),
            "horizon": (self.horizon >= 1, self.horizon, "1 or more"),
            "delta": (0 < self.delta < 1, self.delta, "between 0 and 1"),
            "clip": (self.clip > 0, self.clip, "above 0"),
            "cap": (self.cap >= 1, self.cap, "1 or more"),
            "normalise": one_of(self.normalise, Normalise),
            "mode": one_of(self.mode, Mode),
            "importance_weight": (
                self.mode == "resample" or not self.importance_weight,
                self.importance_weight,
                "True only with mode='resample'",
            ),
        }
        require(self.name, checks)
        combinations = {
            "signal": (
                self.score in ("ema", "cumulative") or self.signal == "failure",
                self.signal,
                f"'failure' with score={self.score!r}, whose bounds are for signals in [0, 1]",
            ),
            "ambiguity": (
                self.ambiguity == "entropy" or self.score == "ema",
                self.ambiguity,
                f"'entropy' with score={self.score!r}; a best response needs an average, score='ema'",
            ),
            "normalise": (
                self.normalise != "raw" or exponential,
                self.normalise,
                "'raw' (eq. 16) only with exponential weights: ambiguity='entropy' and score='ema' or "
                "'cumulative'",
            ),
        }
        require(self.name, combinations)

    @cached_property
    def adversary(self) -> Adversary:
        """The rule that scores bins and turns scores into weights."""
        return Adversary(**{option.name: getattr(self, option.name) for option in fields(Adversary)})

    @property
    def waits_for(self) -> Literal["bin"]:
        return "bin"

    @property
    def roles(self) -> tuple[Role, ...]:
        """Resampling selects, and undoes its own bias; reweighting weighs."""
        return ("select",) if self.mode == "resample" else ("weigh",)

    @property
    def corrects_draws(self) -> bool:
        return self.mode == "resample"

    @property
    def needs_loss(self) -> bool:
        return self.signal == "surrogate"

    def init(self, num_prompts: int, num_bins: int) -> AdversaryState:
        return AdversaryState(np.zeros(num_bins), np.zeros(num_bins, np.int64))

    def select(
        self, state: AdversaryState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """Draw by bin with probability q when resampling; unseen prompts keep their share."""
        if self.mode == "reweight":
            return super().select(state, belief, request, rng)
        mass_C = self._bin_mass(state, belief)
        return belief.draw(mass_C, request.num_prompts, rng)

    def importance(self, state: AdversaryState, belief: Belief, bin_P: IntArray) -> FloatArray:
        """Share of the bin in the pool over its probability, at most `cap`, shape (P,)."""
        if self.mode == "reweight":
            return super().importance(state, belief, bin_P)
        mass_P = self._bin_mass(state, belief)[bin_P + 1]
        share_P = belief.size_C[bin_P + 1] / belief.num_prompts
        return np.minimum(np.where(mass_P > 0, share_P / np.maximum(mass_P, 1e-12), 1.0), self.cap)

    def mass(self, state: AdversaryState, belief: Belief) -> FloatArray:
        if self.mode == "reweight":
            return super().mass(state, belief)
        return self._bin_mass(state, belief)[1:]

    def weigh(
        self, state: AdversaryState, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        """Weights by the plan's own bins; unseen prompts and bins without a score have one."""
        bin_P = groups.plan.bin_P
        if self.mode == "resample":
            # The value at the draw: a plan may be weighed late.
            weight_P = groups.plan.importance_P if self.importance_weight else np.ones(len(bin_P))
            return groups.expand(weight_P)
        num_bins, bin_C = len(state.score_B), bin_P + 1
        known_B = state.updates_B > 0
        active_P = groups.has_gradient_P if self.normalise == "mean_one_active" else None
        # The mean is over the groups that the loss sees: else their weights would not average to one.
        count_B = np.bincount(bin_C[groups.rewarded_P], minlength=1 + num_bins)[1:] * known_B
        active_B = count_B
        if active_P is not None:
            # Groups whose rewards agree have no gradient and would absorb weight.
            active_B = np.bincount(bin_C[active_P], minlength=1 + num_bins)[1:] * known_B
            if not active_B.any():
                active_B, active_P = count_B, None
        weight_C = np.ones(1 + num_bins)
        if active_B.any():
            weight_C[1:] = np.where(known_B, self._normalised(state, count_B, active_B), 1.0)
        weight_P = weight_C[bin_C]
        return groups.expand(weight_P if active_P is None else np.where(active_P, weight_P, 1.0))

    def update(self, state: AdversaryState, belief: Belief, groups: Groups) -> AdversaryState:
        """Move the score of every bin that the plan holds (eq. 12-13)."""
        bin_P, signal_P = groups.plan.bin_P + 1, self._signal(groups)
        counted_P = groups.scored_P if self.signal == "failure" else groups.rewarded_P
        if self.score in ("exp3p", "tinf"):  # fresh prompts of an extension were drawn otherwise
            counted_P = counted_P & (np.arange(len(bin_P)) < groups.plan.num_prompts)
        if not counted_P.all():
            bin_P, signal_P = bin_P[counted_P], signal_P[counted_P]
        classes = 1 + len(state.score_B)
        count_B = np.bincount(bin_P, minlength=classes)[1:]
        signal_B = np.bincount(bin_P, signal_P, classes)[1:] / np.maximum(count_B, 1)
        if self.share_divided:
            signal_B = signal_B * (max(1, int(count_B.sum())) / np.maximum(count_B, 1))
        # The probabilities at the draw: a plan may be closed late.
        seen = Seen(signal_B, count_B, len(bin_P), groups.plan.mass_B)
        after = self.adversary.updated(state, seen)
        self._warn_asleep(after)
        return after

    def metrics(self, state: AdversaryState) -> dict[str, float]:
        """Entropy of q over scored bins (nats) and the largest absolute score."""
        q_B = self.adversary.distribution(state, state.updates_B > 0)
        positive = q_B[q_B > 0]
        return {
            "adversary_entropy": float(-(positive * np.log(positive)).sum()),
            "adversary_max_score": float(np.abs(state.score_B).max()),
        }

    def by_bin(self, state: AdversaryState) -> dict[str, FloatArray]:
        return {"score": state.score_B, "q": self.adversary.distribution(state, state.updates_B > 0)}

    def _signal(self, groups: Groups) -> FloatArray:
        if self.signal == "failure":
            return groups.failure_P
        if self.signal == "reward":
            return -groups.reward_P
        if groups.loss_P is None:
            raise OutcomeError(
                f"{self.name} with signal='surrogate' got no losses; pass observe(outcome, loss_R=...) "
                "after the update, or use signal='failure'"
            )
        return groups.loss_P

    def _normalised(self, state: AdversaryState, count_B: IntArray, active_B: IntArray) -> FloatArray:
        """Weight of a prompt of each bin, from counts of all prompts and of the averaged ones, (B,)."""
        adversary, total = self.adversary, int(count_B.sum())
        if self.normalise == "raw":
            # The cap is applied in the log domain, where a long cumulative score cannot overflow.
            log_B = adversary.step(len(count_B)) * adversary.clipped(state)
            return np.exp(np.minimum(log_B, np.log(self.cap)))
        if self.normalise == "probability":
            q_B = adversary.distribution(state, count_B > 0, count_B / total)
            return np.minimum(q_B, self.cap)
        tilt_B = np.maximum(adversary.tilt(state, count_B / total), 1e-300)
        return mean_one(tilt_B, self.cap, active_B.astype(np.float64))

    def _bin_mass(self, state: AdversaryState, belief: Belief) -> FloatArray:
        """Probability of the unseen prompts (first) and of each bin, shape (1 + B,)."""
        share_C = belief.size_C / belief.num_prompts
        q_B = self.adversary.distribution(state, share_C[1:] > 0, share_C[1:])
        return np.concatenate([share_C[:1], (1.0 - share_C[0]) * q_B])

    def _warn_asleep(self, state: AdversaryState) -> None:
        if state.steps != _ASLEEP_AFTER or self.signal != "surrogate":
            return
        largest = float(np.abs(state.score_B[state.updates_B > 0]).max(initial=0.0))
        if largest < _ASLEEP:
            warnings.warn(
                f"prompt-gdro: after {state.steps} updates the largest score is {largest:.2g}; on "
                "policy the surrogate of normalised advantages is zero, so the adversary is asleep. Use "
                "signal='failure'.",
                stacklevel=2,
            )
