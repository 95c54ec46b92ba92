"""What strategies do with the budget of a reward log: real controllers on its prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gdro.controller import Controller
from gdro.difficulty.tracker import Difficulty
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.problem import Problem
from gdro.report.diagnose.rewards import RewardLog
from gdro.strategies.names import canonical
from gdro.strategies.registry import named
from gdro.strategy import Strategy
from gdro.types import Outcome, Request

DEFAULT_ARMS = ("uniform", "prompt-gdro", "rollout-gdro", "dapo", "gdro")
_BATCH = 64
_MOST_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class ReplayCost:
    """Where a budget went, by prompt, each shape (K,).

    Attributes:
        name: The strategy, or `measured` for the log itself.
        rollouts_K: Rollouts of each prompt.
        pull_K: Rollouts x weight of each prompt.
        solved_K: Prompts with at least one right rollout.
        kinds: Rollouts in groups without a gradient that were not all right, in groups with one, and in
            all-right ones without, shape (3,).
    """

    name: str
    rollouts_K: IntArray
    pull_K: FloatArray
    solved_K: BoolArray
    kinds: IntArray

    @property
    def shares(self) -> FloatArray:
        """Share of each of `kinds`, shape (3,)."""
        return self.kinds / max(1, int(self.kinds.sum()))


def measured(log: RewardLog) -> ReplayCost:
    """What the log itself spent."""
    gradient_V, right_V = log.gradient_V > 0, log.successes_V == log.n_V
    masks = (~gradient_V & ~right_V, gradient_V, ~gradient_V & right_V)
    kinds = np.array([log.n_V[mask].sum() for mask in masks])
    return ReplayCost("measured", log.trials_K, log.trials_K.astype(float), log.right_K > 0, kinds)


def posterior_rates(log: RewardLog, seed: int) -> tuple[FloatArray, FloatArray]:
    """Mean pass rate of each prompt, and a draw from its posterior, each shape (K,).

    The prior has the mean over all prompts and the weight of one rollout, so that a prompt that failed
    four times is not taken for impossible, nor one that succeeded four times for certain.
    """
    mean = float(np.clip(log.right_K.sum() / log.trials_K.sum(), 0.02, 0.98))
    alpha_K = mean + log.right_K
    beta_K = 1.0 - mean + log.trials_K - log.right_K
    draw_K = np.random.default_rng([seed, 0]).beta(alpha_K, beta_K)
    return alpha_K / (alpha_K + beta_K), draw_K


def replay(log: RewardLog, arms: Iterable[str] = DEFAULT_ARMS, seed: int = 0) -> list[ReplayCost]:
    """Spend the log's budget with each strategy by name; the policy does not learn.

    Every arm starts with the log's pass rates as prior, sees fresh rollouts of its own choice from the
    same seed, and stops when it has generated as many as the log (`RewardLog.trial_rollouts` at most).

    Raises:
        GdroError: A strategy is unknown, or cannot spend the budget.
    """
    mean_rollouts = log.trial_group
    n_max = {"rollout-gdro": {"n_max": max(12, 3 * mean_rollouts)}}
    return [
        _spend(
            log, name, named(name, n_max.get(canonical(name), {}), mean_rollouts), mean_rollouts, seed
        )
        for name in arms
    ]


def _spend(log: RewardLog, name: str, strategy: Strategy, mean_rollouts: int, seed: int) -> ReplayCost:
    prior_K, rate_K = posterior_rates(log, seed)
    # A line may state many rollouts in few bytes: one step takes memory for a million at most.
    batch = min(_batch(log), len(log.keys), max(1, _MOST_AT_ONCE // mean_rollouts))
    problem = Problem(prompt_keys=log.keys, prior_N=prior_K)
    strength = max(1.0, float(log.trials_K.mean()))
    controller = Controller(strategy, problem, seed=seed, difficulty=Difficulty(prior_strength=strength))
    total = _Total(len(log.keys))
    rng = np.random.default_rng([seed, 1])
    while controller.ledger.rollouts < log.trial_rollouts:
        plan = controller.plan(Request(batch, batch * mean_rollouts))
        outcome = _sampled(plan.ticket, plan.prompt_R, rate_K, rng)
        while (extension := controller.extend(outcome)) is not None:
            outcome = outcome.joined(_sampled(plan.ticket, extension.prompt_R, rate_K, rng))
        weights = controller.weigh(outcome)
        total.add(outcome, np.where(weights.keep_R, weights.weight_R, 0.0))
        controller.observe(outcome, np.zeros(len(outcome.prompt_R)))
    return total.cost(name)


class _Total:
    """Sums over the steps of an arm."""

    def __init__(self, num_prompts: int) -> None:
        self.rollouts_K = np.zeros(num_prompts, np.int64)
        self.pull_K = np.zeros(num_prompts)
        self.right_K = np.zeros(num_prompts, np.int64)
        self.kinds = np.zeros(3, np.int64)

    def add(self, outcome: Outcome, weight_R: FloatArray) -> None:
        num = len(self.rollouts_K)
        n_K = np.bincount(outcome.prompt_R, minlength=num)
        right_K = np.bincount(outcome.prompt_R, outcome.correct_R, num).astype(np.int64)
        mixed_K = (right_K > 0) & (right_K < n_K)
        self.rollouts_K += n_K
        self.right_K += right_K
        self.pull_K += np.bincount(outcome.prompt_R, weight_R, num)
        wrong, right = n_K[right_K == 0].sum(), n_K[(right_K == n_K)].sum()
        self.kinds += np.array([wrong, n_K[mixed_K].sum(), right])

    def cost(self, name: str) -> ReplayCost:
        return ReplayCost(name, self.rollouts_K, self.pull_K, self.right_K > 0, self.kinds)


def _sampled(ticket: int, prompt_R: IntArray, rate_K: FloatArray, rng: np.random.Generator) -> Outcome:
    right_R = rng.random(len(prompt_R)) < rate_K[prompt_R]
    return Outcome(ticket, prompt_R, right_R.astype(float), right_R)


def _batch(log: RewardLog) -> int:
    """Prompts of a step: the log's, or 64 where it has no steps."""
    steps = int(log.step_V.max()) + 1
    return _BATCH if steps == 1 else max(1, round(len(log.step_V) / steps))
