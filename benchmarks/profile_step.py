"""Where a step of the controller spends its time, at P = 256 x 4, with its digest.

Every prompt was visited twice before. The profiler makes calls of Python code several times slower.

    python benchmarks/profile_step.py  # the default over 14,100 prompts
    python benchmarks/profile_step.py --strategy prompt-gdro --prompts 1000000
"""

from __future__ import annotations

import argparse
import cProfile
import time
from pathlib import Path

import numpy as np
import worlds

from gdro import Controller, Request, default_strategy, make_strategy

P, MEAN = 256, 4


def profiled(controller: Controller, rate_N: np.ndarray, steps: int) -> cProfile.Profile:
    """A profile of the controller's own work, by seconds of the processor."""
    rng, profile = np.random.default_rng(3), cProfile.Profile(time.process_time)
    for _ in range(steps):
        offered = None if controller.selects else rng.choice(len(rate_N), P, replace=False)
        profile.enable()
        plan = controller.plan(Request(P, P * MEAN, offered))
        profile.disable()
        outcome = worlds.outcome(plan, rate_N, rng)
        profile.enable()
        controller.weigh(outcome)
        controller.observe(outcome)
        controller.digest()
        profile.disable()
    return profile


def main() -> None:
    """Run and print shares of the time by function, its own calls not included."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", default="gdro", help="'gdro' is the default")
    parser.add_argument("--prompts", type=int, default=worlds.PAPER)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lines", type=int, default=12)
    options = parser.parse_args()
    named = options.strategy != "gdro"
    strategy = make_strategy(options.strategy) if named else default_strategy(MEAN)
    controller = worlds.controller(strategy, options.prompts)
    profile = profiled(controller, worlds.rates(options.prompts), options.steps)
    entries = sorted(profile.getstats(), key=lambda entry: -entry.inlinetime)
    total = sum(entry.inlinetime for entry in entries)
    calls = sum(entry.callcount for entry in entries) / options.steps
    print(f"{calls:.0f} function calls a step, {total / options.steps * 1e3:.2f} ms with the profiler")
    for entry in entries[: options.lines]:
        code = entry.code
        name = code if isinstance(code, str) else f"{Path(code.co_filename).name} {code.co_name}"
        print(f"{entry.inlinetime / total:6.1%}  {entry.callcount / options.steps:4.0f} calls  {name}")


if __name__ == "__main__":
    main()
