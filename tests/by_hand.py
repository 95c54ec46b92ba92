"""Steps with chosen results, for cases worked out by hand."""

from __future__ import annotations

import numpy as np

from gdro import Controller, Outcome, Problem, Request, make_strategy


def made(name, num=12, seed=0, columns=None, **options):
    keys = [f"k{i}" for i in range(num)]
    problem = Problem(keys, columns=columns or {"difficulty": np.arange(num) * 10.0})
    return Controller(make_strategy(name, **options), problem, seed=seed)


def outcome(plan, right):
    """Right rollouts of each prompt, the first ones of its rows."""
    right_R = np.concatenate(
        [np.arange(n) < right[int(i)] for i, n in zip(plan.prompt_P, plan.rollouts_P, strict=True)]
    )
    return Outcome(plan.ticket, plan.prompt_R, right_R * 1.0, right_R)


def step(c, right, num=3, offered=None):
    """One step of four rollouts a prompt; right by prompt."""
    offered = np.arange(num) if offered is None else np.array(offered)
    plan = c.plan(Request(len(offered), 4 * len(offered), offered))
    scored = outcome(plan, right)
    c.weigh(scored)
    c.observe(scored)
    return c._state
