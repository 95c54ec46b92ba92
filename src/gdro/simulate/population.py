"""Synthetic prompts with latent difficulties, and a policy whose abilities GRPO updates."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

from gdro.errors import GdroError
from gdro.memory.advantages import WeightedRows
from gdro.memory.joining import rows_to_store
from gdro.memory.placing import Placed, place
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.problem import Problem
from gdro.types import Extension, Outcome, Plan, Weights


class SimulationError(GdroError):
    """An option of the simulation is out of range."""


@dataclass
class Component:
    """A normal component of the difficulties, in logits above the initial ability.

    Args:
        share: Relative share of the prompts.
        mean: Mean difficulty.
        sd: Standard deviation of the difficulty.
    """

    share: float
    mean: float
    sd: float


def _heavy_tail() -> list[Component]:
    return [Component(0.3, -2.5, 1.0), Component(0.3, 0.0, 1.0), Component(0.4, 4.0, 1.5)]


@dataclass
class Population:
    """The prompts and how the policy learns.

    A rollout is right with probability sigmoid(ability - difficulty), where the ability on a prompt is
    the sum of a part shared by all prompts, one of the prompt's skill, and one of its own. Each part is
    updated by the GRPO gradient of this policy: the row mean of weight * advantage * (right - p).

    Args:
        num_prompts: Number of training prompts, N.
        num_heldout: Number of prompts never trained on; their own part of the ability stays zero.
        mixture: Components of the distribution of difficulties.
        num_skills: Number of skills; each prompt needs one.
        unlearnable: Share of prompts that no rollout ever solves.
        wrong_labels: Share of prompts whose right answers are scored as wrong.
        verifier_noise: Probability that a score is flipped.
        verifier_drift: Probability that a wrong rollout is scored as right at the last step; it grows
            linearly from zero at the first.
        rate_shared: Learning rate of the ability shared by all prompts.
        rate_skill: Learning rate of the ability in each skill.
        rate_own: Learning rate of the ability on each single prompt (memorisation).
        tokens: Mean tokens per rollout on a prompt with pass rate one half; harder ones are longer.

    Raises:
        SimulationError: An option is out of range.
    """

    num_prompts: int = 14_100
    num_heldout: int = 2_000
    mixture: list[Component] = field(default_factory=_heavy_tail)
    num_skills: int = 64
    unlearnable: float = 0.0
    wrong_labels: float = 0.0
    verifier_noise: float = 0.0
    verifier_drift: float = 0.0
    rate_shared: float = 0.01
    rate_skill: float = 0.5
    rate_own: float = 60.0
    tokens: float = 400.0

    def __post_init__(self) -> None:
        for name in ("num_prompts", "num_heldout", "num_skills"):
            if getattr(self, name) < 1:
                raise SimulationError(f"population.{name} is {getattr(self, name)}; allowed: 1 or more")
        for name in ("unlearnable", "wrong_labels", "verifier_noise", "verifier_drift"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SimulationError(f"population.{name} is {getattr(self, name)}; allowed: 0 to 1")
        for name in ("rate_shared", "rate_skill", "rate_own"):
            if not 0.0 <= getattr(self, name) < inf:
                raise SimulationError(
                    f"population.{name} is {getattr(self, name)}; allowed: 0 or more, finite"
                )
        if not 1.0 <= self.tokens < inf:
            raise SimulationError(f"population.tokens is {self.tokens}; allowed: 1 or more, finite")
        sound = [0 < c.share < inf and isfinite(c.mean) and 0 <= c.sd < inf for c in self.mixture]
        if not sound or not all(sound):
            raise SimulationError(
                f"population.mixture is {self.mixture}; it needs components with share > 0, sd "
                ">= 0 and a mean, all finite"
            )


class RememberedRow(NamedTuple):
    """A remembered rollout: its tokens, whether it is really right, its advantage in its own step."""

    tokens: int
    right: bool
    advantage: float


class SimulatedPolicy:
    """Generates and scores the rollouts of plans, and learns from them.

    Args:
        population: The prompts and how the policy learns.
        num_steps: Number of steps of the run, for the drift of the verifier.
        seed: Seed of the prompts and the rollouts.
    """

    def __init__(self, population: Population, num_steps: int, seed: int) -> None:
        self.population = population
        self._num_steps = num_steps
        self._seed = seed
        total = population.num_prompts + population.num_heldout
        rng = np.random.default_rng([seed, 0])
        share = np.array([c.share for c in population.mixture])
        part = rng.choice(len(share), total, p=share / share.sum())
        mean = np.array([c.mean for c in population.mixture])[part]
        sd = np.array([c.sd for c in population.mixture])[part]
        self._difficulty = rng.normal(mean, sd)
        self._skill = rng.integers(0, population.num_skills, total)
        self._solvable = rng.random(total) >= population.unlearnable
        self._right_label = rng.random(total) >= population.wrong_labels
        self._shared = 0.0
        self._skills = np.zeros(population.num_skills)
        self._own_N = np.zeros(population.num_prompts)
        self._stored: dict[int, tuple[RememberedRow, ...]] = {}
        self._step = 0

    def problem(self) -> Problem:
        """The dataset, with columns `difficulty` (100 times the current failure rate) and `skill`."""
        prompt_N = np.arange(self.population.num_prompts)
        columns = {
            "difficulty": 100.0 * (1.0 - self.rates(prompt_N)),
            "skill": self._skill[: len(prompt_N)],
        }
        return Problem([f"p{i}" for i in prompt_N.tolist()], columns=columns)

    def rates(self, index: IntArray) -> FloatArray:
        """True pass rates of prompts; those with indices from N on are held out."""
        num = self.population.num_prompts
        own = np.where(index < num, self._own_N[np.minimum(index, num - 1)], 0.0)
        ability = self._shared + self._skills[self._skill[index]] + own
        rate = 1.0 / (1.0 + np.exp(self._difficulty[index] - ability))
        return np.where(self._solvable[index], rate, 0.0)

    @property
    def heldout(self) -> IntArray:
        """Indices of the held-out prompts."""
        return self.population.num_prompts + np.arange(self.population.num_heldout)

    def roll_out(self, plan: Plan | Extension) -> tuple[Outcome, BoolArray]:
        """Rollouts of a plan or extension: the outcome, and whether each row is really right, (R,)."""
        extra = (plan.round,) if isinstance(plan, Extension) else ()
        rng = np.random.default_rng([self._seed, 1, plan.ticket, *extra])
        options, prompt_R = self.population, plan.prompt_R
        rate_R = np.repeat(self.rates(plan.prompt_P), plan.rollouts_P)
        right_R = rng.random(len(prompt_R)) < rate_R
        scored_R = right_R & self._right_label[prompt_R]
        drift = options.verifier_drift * self._step / max(1, self._num_steps - 1)
        scored_R = scored_R | (~right_R & (rng.random(len(prompt_R)) < drift))
        scored_R = scored_R ^ (rng.random(len(prompt_R)) < options.verifier_noise)
        length_R = options.tokens * (1.5 - rate_R) * rng.gamma(4.0, 0.25, len(prompt_R))
        tokens_R = np.maximum(1, length_R.astype(np.int64))
        reward_R = scored_R.astype(np.float64)
        return Outcome(plan.ticket, prompt_R, reward_R, scored_R, tokens_R=tokens_R), right_R

    def learn(self, outcome: Outcome, weights: Weights, right_R: BoolArray) -> tuple[int, int]:
        """One GRPO update of the abilities; advantages are normalised within each group.

        Args:
            outcome: Scored rollouts of a plan, with those of its extensions.
            weights: The controller's weights of the rows.
            right_R: Whether each row is truly right, shape (R,).

        Returns:
            Number of recalled rollouts that joined the update, and of their tokens.
        """
        rows = WeightedRows.of(outcome, weights)
        pull_R, prompt_R = rows.advantage_R(), outcome.prompt_R
        placed, own_R = self._placed(outcome, weights, pull_R), pull_R
        remembered, recalled = np.zeros(0, bool), (0, 0)
        if placed is not None:
            stored = [self._stored[recall.prompt][recall.slot] for recall in placed.recalls]
            remembered = np.array([row.right for row in stored], bool)
            recalled = (len(stored), sum(row.tokens for row in stored))
            pull_R = rows.advantage_with(placed, [row.advantage for row in stored])
            prompt_R = np.concatenate([prompt_R, placed.prompt_M])
        self._remember(outcome, weights, right_R, own_R)
        num_rows = max(1, int(np.count_nonzero(weights.keep_R)))
        self._update(prompt_R, np.concatenate([right_R, remembered]), pull_R / num_rows)
        self._step += 1
        return recalled

    def _update(self, prompt_R: IntArray, right_R: BoolArray, pull_R: FloatArray) -> None:
        prompt_P, position_R = np.unique(prompt_R, return_inverse=True)
        slope_R = right_R - self.rates(prompt_P)[position_R]
        gradient_P = np.bincount(position_R, pull_R * slope_R, len(prompt_P))
        gradient_P = np.where(self._solvable[prompt_P], gradient_P, 0.0)
        skills = np.bincount(self._skill[prompt_P], gradient_P, len(self._skills))
        self._shared += self.population.rate_shared * float(gradient_P.sum())
        self._skills += self.population.rate_skill * skills
        self._own_N[prompt_P] += self.population.rate_own * gradient_P

    def _placed(self, outcome: Outcome, weights: Weights, pull_R: FloatArray) -> Placed | None:
        if not weights.recall:
            return None
        chosen_R = np.flatnonzero(weights.keep_R)

        def least_likely(prompt_M: IntArray) -> list[int]:
            return np.argsort(self.rates(prompt_M), kind="stable").tolist()

        return place(weights, outcome, pull_R, chosen_R, self._stored, least_likely)

    def _remember(
        self, outcome: Outcome, weights: Weights, right_R: BoolArray, pull_R: FloatArray
    ) -> None:
        """Store rows to remember by prompt."""
        assert outcome.tokens_R is not None  # of `roll_out`
        for prompt, rows in rows_to_store(weights, outcome).items():
            parts = (outcome.tokens_R[rows], right_R[rows], pull_R[rows])
            values = zip(*(part.tolist() for part in parts), strict=True)
            self._stored[prompt] = tuple(RememberedRow(*row) for row in values)
