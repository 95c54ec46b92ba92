"""Milliseconds of a step of every strategy by the size of the dataset, with the digest of its state.

Milliseconds are of the processor, on one thread, so that other programs hardly count. Controllers of
one strategy over datasets of several sizes take turns, a step each, so that slow phases of the machine
hit all of them; ratios are of medians over the smallest dataset. Every prompt was visited twice before,
so that all have a bin and most a stored success.

    python benchmarks/dataset_size.py  # every strategy, 14,100 and 1e6 prompts
    python benchmarks/dataset_size.py --strategies gdro --sizes 14100 1000000 10000000
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

import numpy as np
import worlds

from gdro import Controller, Request, default_strategy, list_strategies, make_strategy
from gdro.numerics.arrays import FloatArray

P, MEAN = 256, 4
PHASES = ("plan", "weigh", "observe", "digest")
MOST = {1_000_000: 1.3, 10_000_000: 1.6}
DEFAULT_MS = 1.5


def step(controller: Controller, rate_N: FloatArray, rng: np.random.Generator) -> list[float]:
    """Seconds of each phase of one step. What `extend` asks for is not generated."""
    offered = None if controller.selects else rng.choice(len(rate_N), P, replace=False)
    marks = [time.process_time()]
    plan = controller.plan(Request(P, P * MEAN, offered))
    marks.append(time.process_time())
    outcome = worlds.outcome(plan, rate_N, rng)
    start = time.process_time()
    controller.weigh(outcome)
    weighed = time.process_time()
    controller.observe(outcome)
    observed = time.process_time()
    controller.digest()
    done = time.process_time()
    return [marks[1] - marks[0], weighed - start, observed - weighed, done - observed]


def milliseconds(strategy: str, sizes: list[int], steps: int, warm_up: int) -> np.ndarray:
    """Median time of each phase at each size, shape (sizes, phases)."""
    chosen = default_strategy(MEAN) if strategy == "gdro" else make_strategy(strategy)
    controllers = [worlds.controller(chosen, size) for size in sizes]
    rates = [worlds.rates(size) for size in sizes]
    rngs = [np.random.default_rng(3) for _ in sizes]
    taken: list[list[list[float]]] = []
    gc.collect()
    gc.disable()
    for i in range(warm_up + steps):
        row = [step(*world) for world in zip(controllers, rates, rngs, strict=True)]
        if i >= warm_up:
            taken.append(row)
    gc.enable()
    return 1e3 * np.median(np.array(taken), axis=0)


def main() -> bool:
    """Print the table; whether every target is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", default=["gdro", *list_strategies()])
    parser.add_argument("--sizes", nargs="+", type=int, default=[worlds.PAPER, 1_000_000])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=20)
    options = parser.parse_args()
    met = True
    print("| strategy | prompts | plan | weigh | observe | digest | step | over the smallest | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for strategy in options.strategies:
        table = milliseconds(strategy, options.sizes, options.steps, options.warm_up)
        for size, row in zip(options.sizes, table, strict=True):
            total, ratio = float(row.sum()), float(row.sum() / table[0].sum())
            fine = ratio <= MOST.get(size, np.inf)
            if strategy == "gdro" and size == worlds.PAPER:
                fine = total <= DEFAULT_MS
            met = met and fine
            phases = " | ".join(f"{value:.2f}" for value in row)
            verdict = "met" if fine else "NOT MET"
            print(
                f"| {strategy} | {size:,} | {phases} | {total:.2f} | {ratio:.2f} | {verdict} |",
                flush=True,
            )
    return met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
