"""What the verl adapter adds to a step on the driver: `.venv-verl/bin/python benchmarks/verl_driver.py`.

Plan, match, weigh, multiply and observe at P = 256 prompts of a pool of 14,100 and n = 4; nothing of
verl's own work is in the time. The target is 5 ms a step.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("VERL_USE_EXTERNAL_MODULES", "gdro.dry_run.verl.cpu,gdro.integrations.verl")

import numpy as np
import torch

import verl  # noqa: F401  # first: it imports the adapter as a plugin
from gdro import Controller, Problem, Request, make_strategy
from gdro.integrations.verl.step import RowScores, VerlStep, scale

P, N_BAR, POOL, STEPS, WARMUP, WIDTH = 256, 4, 14_100, 300, 60, 512


def milliseconds(strategy: str) -> np.ndarray:
    """Time of each step."""
    controller = Controller(make_strategy(strategy), Problem([str(i) for i in range(POOL)]))
    rng = np.random.default_rng(0)
    rate_N, taken = rng.beta(0.3, 0.5, POOL), []
    for _ in range(WARMUP + STEPS):
        offered = None if controller.selects else rng.permutation(POOL)[:P]
        advantages = torch.ones(P * N_BAR, WIDTH)
        start = time.perf_counter()
        plan = controller.plan(Request(P, P * N_BAR, offered))
        taken.append(time.perf_counter() - start)
        uids, rollouts = [f"uid-{p}" for p in range(P)], plan.rollouts_P.tolist()
        keys = [f"{uid}_{s}_0" for uid, n in zip(uids, rollouts, strict=True) for s in range(n)]
        order = rng.permutation(len(keys))
        keys = [keys[i] for i in order]
        reward = (rng.random(len(keys)) < rate_N[plan.prompt_R[order]]).astype(np.float64)
        start = time.perf_counter()
        step = VerlStep(plan)
        step.submit(uids, plan.prompt_P.tolist(), rollouts)
        outcome = step.read(keys, RowScores(reward, reward > 0.5, np.full(len(keys), 100), reward >= 0))
        step.weigh(controller.weigh(outcome))
        scale(advantages, step.factors(keys))
        controller.observe(outcome, extra=step.counts(keys))
        controller.metrics()
        taken[-1] += time.perf_counter() - start
    return 1e3 * np.array(taken[WARMUP:])


if __name__ == "__main__":
    for name in ("uniform", "prompt-gdro", "rollout-gdro", "failure-sampling + rollout-gdro"):
        times = milliseconds(name)
        print(f"{name:32} median {np.median(times):.2f} ms, 95% below {np.quantile(times, 0.95):.2f} ms")
