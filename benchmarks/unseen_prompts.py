"""What a predictor of pass rates is worth where no prompt is seen twice, in the simulator.

Rollout-GDRO over a pool seen once, without a predictor and with one that reads a column of some
correlation with the true pass rates; change against equal groups (GRPO) of the same seed, in percent.

    python benchmarks/unseen_prompts.py
"""

from __future__ import annotations

import argparse

import numpy as np

from gdro import Controller, Difficulty, Problem, Request, make_strategy
from gdro.simulate import Population, SimulatedPolicy

STEPS, P, MEAN = 200, 64, 4
# Standard deviation of what is added to the standardised difficulty; None: no predictor.
ARMS = {"no predictor": None, "exact": 0.0, "some noise": 1.0, "more noise": 2.0, "noise alone": 1e6}


def run(seed: int, strategy: str, noise: float | None, steps: int = STEPS) -> tuple[float, float, float]:
    """Held-out mean@8 and pass@8, and the correlation of the column with the difficulty."""
    population = Population(num_prompts=steps * P, num_skills=8, rate_shared=0.05)
    policy = SimulatedPolicy(population, steps, seed)
    pool = policy.problem()
    true = np.asarray(pool.columns["difficulty"])
    added = np.random.default_rng(seed).normal(size=len(true)) * (noise or 0.0)
    known = (true - true.mean()) / true.std() + added
    difficulty = Difficulty() if noise is None else Difficulty(predictor=("known",))
    problem = Problem(pool.prompt_keys, columns={"known": known})
    controller = Controller(make_strategy(strategy), problem, seed=seed, difficulty=difficulty)
    order = np.random.default_rng([seed, 9]).permutation(len(true))
    for step in range(steps):
        plan = controller.plan(Request(P, P * MEAN, order[step * P : step * P + P]))
        outcome, right_R = policy.roll_out(plan)
        recalled = policy.learn(outcome, controller.weigh(outcome), right_R)
        controller.observe(outcome, np.zeros(len(right_R)), recalled=recalled)
    rate = policy.rates(policy.heldout)
    return float(rate.mean()), float((1 - (1 - rate) ** 8).mean()), float(np.corrcoef(true, known)[0, 1])


def main() -> None:
    """Print a row for each arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    seeds = range(600, 600 + parser.parse_args().seeds)
    plain = np.array([run(seed, "uniform", None)[:2] for seed in seeds])
    print("| predictor | correlation | mean@8 % | pass@8 % |\n| --- | --- | --- | --- |")
    for name, noise in ARMS.items():
        found = np.array([run(seed, "rollout-gdro", noise) for seed in seeds])
        change = 100 * (found[:, :2] / plain - 1)
        error = change.std(axis=0, ddof=1) / np.sqrt(len(seeds))
        cells = (f"{m:+.1f} ({e:.1f})" for m, e in zip(change.mean(axis=0), error, strict=True))
        correlation = "" if noise is None else f"{found[:, 2].mean():.2f}"
        print(f"| {name} | {correlation} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
