"""Controllers and outcomes at a given size, warmed so that every prompt of a plan has a bin."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gdro import Controller, Difficulty, Outcome, Plan, Problem, Request, Strategy, make_strategy

N_BAR = 4
PAPER = 14_100


@cache
def problem(num_prompts: int) -> Problem:
    """A pool; made once, for making a million keys takes longer than what is measured."""
    keys = [f"prompt-{i}" for i in range(num_prompts)]
    return Problem(keys, columns={"difficulty": 100.0 * (1.0 - rates(num_prompts))})


def rates(num_prompts: int) -> np.ndarray:
    """True pass rates with both tails."""
    return np.random.default_rng(0).beta(0.4, 0.4, num_prompts)


def controller(
    strategy: str | Strategy[Any],
    num_prompts: int = PAPER,
    difficulty: Difficulty | None = None,
    **options: Any,
) -> Controller:
    """A controller that has seen every prompt twice."""
    made = Controller(
        make_strategy(strategy, **options) if isinstance(strategy, str) else strategy,
        problem(num_prompts),
        difficulty=difficulty,
        max_pending=1_000_000,
    )
    rate_N, rng = rates(num_prompts), np.random.default_rng(1)
    for _ in range(2):
        for part in np.array_split(rng.permutation(num_prompts), max(1, num_prompts // 16_384)):
            close(made, made.plan(Request(len(part), N_BAR * len(part), part)), rate_N, rng)
    return made


def outcome(plan: Plan, rate_N: np.ndarray, rng: np.random.Generator) -> Outcome:
    """Scored rollouts of a plan."""
    prompt_R = plan.prompt_R
    correct_R = rng.random(len(prompt_R)) < rate_N[prompt_R]
    return Outcome(plan.ticket, prompt_R, correct_R.astype(float), correct_R)


def close(made: Controller, plan: Plan, rate_N: np.ndarray, rng: np.random.Generator) -> None:
    """Score, weigh and observe."""
    scored = outcome(plan, rate_N, rng)
    made.weigh(scored)
    made.observe(scored)


def request(made: Controller, num_prompts: int, seed: int = 0) -> Request:
    """A request for prompts that the trainer chose."""
    offered = np.random.default_rng(seed).choice(made.problem.num_prompts, num_prompts, replace=False)
    return Request(num_prompts, N_BAR * num_prompts, offered)
