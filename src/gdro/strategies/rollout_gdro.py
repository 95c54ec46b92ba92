"""Rollout-GDRO: reallocate rollouts over difficulty bins at an exact budget (eq. 17-21)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.errors import OutcomeError
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.budget import choose_arms, greedy
from gdro.numerics.passk import Utility, utilities
from gdro.numerics.price import ascend, demand
from gdro.numerics.ragged import segments
from gdro.numerics.simplex import mix, softmax
from gdro.strategy import Allocator, Draft, require

AnyUtility = Literal[Utility, "loss"]


@dataclass(frozen=True)
class PriceState:
    """Shadow price, and for `exp3p` the score of each bin and arm, shape (B, A)."""

    price: float
    demand: float
    score_BA: FloatArray


@dataclass(frozen=True)
class RolloutGDRO(Allocator[PriceState]):
    """Give rollouts where the next one is worth most, the total held exactly (eq. 17-21).

    maximise sum_i U_b(i)(n_i) with sum_i n_i = n_bar P and n_min <= n_i <= n_max   (17-18)
    U_b(n) = mean of E[(1 - p) (1 - (1 - p)^n)] over the bin's prompts              (`discovery`)
    mu <- max(0, mu + alpha_mu (demand(mu) - n_bar)), the price of a rollout        (21)

    The price only steers `solver="exp3p"`. `exact` meets the total by construction, so its plans do not
    depend on mu; there the price is logged as a diagnostic, the utility of one more rollout.

    P is the number of prompts in a plan, n_bar their mean number of rollouts, b(i) the bin of prompt i,
    p its pass rate under the posterior. Prompts that were never seen get n_bar.

    Args:
        n_min: Fewest rollouts of a prompt, at least 2 (a group of one has no advantage).
        n_max: Most rollouts of a prompt.
        solver: `exact` (utilities in closed form under the posterior) or `exp3p` (the paper's arm
            distributions, learned from bandit feedback).
        utility: Of n rollouts: `discovery`, `failure`, `mixed`, `hit`, `variance`; `loss` belongs to
            `exp3p`.
        per: One rollout count for each `bin` (the paper) or each `prompt`.
        split: Whether the prompts of one bin may take two adjacent counts, so that the total is met.
        eta: Step size on arm scores (`exp3p`), 0 or more.
        gamma: Share of the uniform distribution over arms (`exp3p`), above 0, at most 1.
        arm_ema: Weight of the newest feedback in an arm's score (`exp3p`), above 0, at most 1.
        alpha_mu: Step size of the price, above 0. With `exact` it changes a logged number and no plan,
            and is relative: a step changes the price by alpha_mu times the marginal utility at the mean
            budget times the relative excess demand.

    Raises:
        StrategyError: An option is out of range.

    References:
        Panaganti et al., 2026, "Group Distributionally Robust Optimization-Driven Reinforcement Learning
        for LLM Reasoning", arXiv 2601.19280, eq. 17-21.

    >>> from gdro import Controller, Problem, Request
    >>> problem = Problem(["easy", "hard"], prior_N=np.array([0.99, 0.2]))
    >>> request = Request(num_prompts=2, num_rollouts=8, offered_P=np.array([0, 1]))
    >>> Controller(RolloutGDRO(), problem).plan(request).rollouts_P.tolist()
    [2, 6]
    """

    name: ClassVar[str] = "rollout-gdro"
    changes: ClassVar[str] = "rollouts of each prompt, total constant"
    source: ClassVar[str] = "arXiv 2601.19280, eq. 17-21"

    solver: Literal["exact", "exp3p"] = "exact"
    utility: AnyUtility = "discovery"
    per: Literal["bin", "prompt"] = "bin"
    split: bool = True
    eta: float = 0.65
    gamma: float = 0.01
    arm_ema: float = 0.4
    alpha_mu: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver == "exp3p" and self.utility == "discovery":
            object.__setattr__(self, "utility", "loss")
        exact = get_args(Utility)
        allowed = exact if self.solver == "exact" else ("loss",)
        checks = {
            "solver": (self.solver in ("exact", "exp3p"), self.solver, "exact, exp3p"),
            "utility": (
                self.utility in allowed,
                self.utility,
                f"{', '.join(allowed)} with solver={self.solver!r}",
            ),
            "per": (
                self.per == "bin" or (self.per == "prompt" and self.solver == "exact"),
                self.per,
                "bin, or prompt with solver='exact'",
            ),
            "eta": (0 <= self.eta < np.inf, self.eta, "0 or more, finite"),
            "gamma": (0 < self.gamma <= 1, self.gamma, "above 0, at most 1"),
            "arm_ema": (0 < self.arm_ema <= 1, self.arm_ema, "above 0, at most 1"),
            "alpha_mu": (self.alpha_mu > 0, self.alpha_mu, "above 0"),
        }
        require(self.name, checks)

    @property
    def arm_A(self) -> IntArray:
        """Rollout counts to choose from, shape (A,)."""
        return np.arange(self.n_min, self.n_max + 1)

    @property
    def waits_for(self) -> Literal["bin"]:
        return "bin"

    def init(self, num_prompts: int, num_bins: int) -> PriceState:
        arms = len(self.arm_A) if self.solver == "exp3p" else 0
        return PriceState(0.0, 0.0, np.zeros((num_bins, arms)))

    def allocate(
        self, state: PriceState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        """Exact allocation; unseen prompts get the mean budget."""

        def spread(prompt_P: IntArray, bin_P: IntArray, total: int) -> IntArray:
            if self.per == "prompt":
                return greedy(self._values(belief, prompt_P), total, self.n_min)
            return self._by_bin(state, belief, prompt_P, bin_P, total)

        return self.over_seen(draft, spread)

    def update(self, state: PriceState, belief: Belief, groups: Groups) -> PriceState:
        """Update the price by demand, and with `exp3p` the scores of the arms that were played."""
        plan = groups.plan
        # The bandit learns from rewards, the price from beliefs alone.
        known_P = groups.rewarded_P if self.solver == "exp3p" else groups.scored_P
        seen_P = np.flatnonzero((plan.bin_P >= 0) & known_P)
        seen_P = seen_P[seen_P < plan.num_prompts]  # no arm was chosen for those of extensions
        if not len(seen_P):
            return state
        if self.solver == "exp3p":
            return self._bandit_update(state, groups, seen_P)
        value_BA, share_B = self._bin_values(belief, plan.prompt_P[seen_P], plan.bin_P[seen_P])
        mean = plan.num_rollouts / plan.num_prompts
        wanted = demand(value_BA, share_B, self.arm_A, state.price)
        step = self.alpha_mu * self._scale(value_BA, share_B, mean) / mean
        return PriceState(ascend(state.price, wanted - mean, step), wanted, state.score_BA)

    def metrics(self, state: PriceState) -> dict[str, float]:
        """The shadow price (utility of one more rollout) and the demand at that price."""
        return {"price": state.price, "demand": state.demand}

    def _values(self, belief: Belief, prompt_P: IntArray) -> FloatArray:
        alpha_P, beta_P = belief.posterior(prompt_P)
        assert self.utility != "loss"
        return utilities(self.utility, alpha_P, beta_P, self.arm_A)

    def _bin_values(
        self, belief: Belief, prompt_P: IntArray, bin_P: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Mean utility of the plan's prompts in each bin present, and the bin's share."""
        value_PA = self._values(belief, prompt_P)
        if self.per == "prompt":
            return value_PA, np.full(len(prompt_P), 1.0 / len(prompt_P))
        by_bin = segments(bin_P)
        return by_bin.mean(value_PA), by_bin.count_K / len(prompt_P)

    def _by_bin(
        self, state: PriceState, belief: Belief, prompt_P: IntArray, bin_P: IntArray, total: int
    ) -> IntArray:
        by_bin = segments(bin_P)
        count_B = by_bin.count_K
        if self.solver == "exp3p":
            value_BA = np.log(self._policy(state))[by_bin.label_K]
        else:
            value_BA = by_bin.mean(self._values(belief, prompt_P))
        if self.solver == "exact" and self.split:  # utilities are concave, so greedy is exact
            return by_bin.spread(greedy(value_BA, total, self.n_min, count_B))
        return by_bin.spread(choose_arms(value_BA, count_B, total, self.n_min, self.split))

    def _scale(self, value_BA: FloatArray, share_B: FloatArray, mean: float) -> float:
        """Marginal utility at the mean budget, which gives the price step its unit."""
        gain_BA = np.diff(value_BA, axis=1)
        if not gain_BA.shape[1]:
            return 0.0
        at = min(max(int(mean) - self.n_min, 0), gain_BA.shape[1] - 1)
        return float(share_B @ gain_BA[:, at])

    def _policy(self, state: PriceState) -> FloatArray:
        """Arm distributions pi_b at the current price, shape (B, A)."""
        # The price is subtracted here instead of stored in the scores of the arms that were played:
        # otherwise arms that were never played would look better as the price rises.
        return mix(softmax(self.eta * (state.score_BA - state.price * self.arm_A)), self.gamma)

    def _bandit_update(self, state: PriceState, groups: Groups, seen_P: IntArray) -> PriceState:
        """Score the played arms with the bin's loss; the price follows softmax demand (eq. 19-21)."""
        plan = groups.plan
        bin_P, played_P = plan.bin_P[seen_P], plan.first_P[seen_P]
        loss_P = -groups.reward_P[seen_P] if groups.loss_P is None else groups.loss_P[seen_P]
        if not np.isfinite(loss_P).all():
            raise OutcomeError("rollout-gdro got a loss that is not finite; check loss_R")
        score_BA = state.score_BA.copy()
        for b in np.unique(bin_P):
            in_bin = bin_P == b
            arms = np.unique(played_P[in_bin])
            payoff = float(loss_P[in_bin].mean())
            cell = score_BA[b, arms - self.n_min]
            score_BA[b, arms - self.n_min] = cell + self.arm_ema * (payoff - cell)
        policy_BA = self._policy(PriceState(state.price, 0.0, score_BA))
        wanted = float((policy_BA[bin_P] @ self.arm_A).mean())
        # Softmax demand: the price may take either sign.
        price = state.price + self.alpha_mu * (wanted - plan.num_rollouts / plan.num_prompts)
        return PriceState(price, wanted, score_BA)
