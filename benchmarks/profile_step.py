"""Where weigh and observe spend their time, at P = 256 x 4: `python benchmarks/profile_step.py`."""

from __future__ import annotations

import cProfile
from pathlib import Path

import numpy as np

from gdro import Controller, Outcome, Problem, Request, make_strategy

NUM_PROMPTS, BATCH, MEAN, STEPS = 14_100, 256, 4, 1000


def main() -> None:
    """Run and print shares of the time by function, its own calls not included."""
    keys = [f"p{i}" for i in range(NUM_PROMPTS)]
    controller = Controller(make_strategy("prompt-gdro"), Problem(keys), seed=0)
    rng, profile = np.random.default_rng(0), cProfile.Profile()
    rate_N = rng.random(NUM_PROMPTS)
    for _ in range(STEPS):
        plan = controller.plan(Request(BATCH, BATCH * MEAN))
        right_R = rng.random(BATCH * MEAN) < rate_N[plan.prompt_R]
        outcome = Outcome(plan.ticket, plan.prompt_R, right_R * 1.0, right_R)
        profile.enable()
        controller.weigh(outcome)
        controller.observe(outcome)
        profile.disable()
    entries = sorted(profile.getstats(), key=lambda entry: -entry.inlinetime)
    total = sum(entry.inlinetime for entry in entries)
    print(f"{sum(entry.callcount for entry in entries) / STEPS:.0f} function calls a step")
    for entry in entries[:10]:
        code = entry.code
        name = code if isinstance(code, str) else f"{Path(code.co_filename).name} {code.co_name}"
        print(f"{entry.inlinetime / total:6.1%}  {entry.callcount / STEPS:4.0f} calls  {name}")


if __name__ == "__main__":
    main()
