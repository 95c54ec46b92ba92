"""Where no prompt is seen twice, predictions are worth what they correlate with true pass rates."""

from __future__ import annotations

import numpy as np

from gdro import Controller, Difficulty, Problem, Request, make_strategy
from gdro.simulate import Population, SimulatedPolicy

STEPS, P = 80, 64


def heldout(strategy: str, noise: float | None = None) -> float:
    """Mean pass rate of prompts never trained on, after every training prompt was seen once."""
    population = Population(num_prompts=STEPS * P, num_skills=8, rate_shared=0.05)
    policy = SimulatedPolicy(population, STEPS, 2)
    true = np.asarray(policy.problem().columns["difficulty"])
    known = true / true.std() + np.random.default_rng(0).normal(size=len(true)) * (noise or 0.0)
    difficulty = Difficulty() if noise is None else Difficulty(predictor=("known",))
    problem = Problem(policy.problem().prompt_keys, columns={"known": known})
    controller = Controller(make_strategy(strategy), problem, difficulty=difficulty)
    for step in range(STEPS):
        plan = controller.plan(Request(P, 4 * P, np.arange(step * P, step * P + P)))
        outcome, right_R = policy.roll_out(plan)
        policy.learn(outcome, controller.weigh(outcome), right_R)
        controller.observe(outcome)
    return float(policy.rates(policy.heldout).mean())


def test_the_gain_follows_the_correlation() -> None:
    plain, unseen = heldout("uniform"), heldout("rollout-gdro")
    gains = [heldout("rollout-gdro", noise) / plain - 1 for noise in (0.0, 2.0, 1e6)]
    assert unseen == plain  # without a prediction every unseen prompt gets the mean
    assert gains[0] > 0.03 > gains[1] > 0.002 > abs(gains[2]), gains
