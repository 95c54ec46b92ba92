"""A hundred thousand steps of the controller: memory and time flat, weights finite, ledger exact.

Does the controller's work alone: rollouts are coin flips. `make chaos` runs it; prints its figures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from gdro import Controller, Outcome, Problem, Request, make_strategy

PROMPTS, BATCH, MEAN = 14_100, 256, 4
PARTS = 20


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--strategy", default="prompt-gdro + rollout-gdro")
    options = parser.parse_args()
    controller = Controller(
        make_strategy(options.strategy), Problem([f"p{i}" for i in range(PROMPTS)]), seed=0
    )
    rate_N = np.random.default_rng(0).beta(0.4, 0.4, PROMPTS)
    steps = options.steps // PARTS
    seconds, memory = [], []
    price_S = np.full(steps * PARTS, np.nan)  # written now: the driver itself takes no more later
    for part in range(PARTS):
        start = time.process_time()
        for step in range(part * steps, (part + 1) * steps):
            price_S[step] = one_step(controller, rate_N, step)
        seconds.append((time.process_time() - start) / steps)
        memory.append(resident())
    check(controller, PARTS * steps, seconds, memory, price_S, options.strategy)


def one_step(controller: Controller, rate_N: np.ndarray, step: int) -> float:
    """Plan, flip coins, weigh, observe; the price of one more rollout."""
    plan = controller.plan(Request(BATCH, MEAN * BATCH))
    prompt_R = plan.prompt_R
    # Rates wander, so that bins keep moving: by a third within ten thousand steps.
    shift = 0.3 * np.sin(step / 1600)
    right_R = np.random.default_rng([1, step]).random(len(prompt_R)) < rate_N[prompt_R] + shift
    outcome = Outcome(
        plan.ticket, prompt_R, right_R * 2.0 - 1.0, right_R, tokens_R=np.full(len(prompt_R), 9)
    )
    weights = controller.weigh(outcome)  # refuses weights that are not finite
    assert float(weights.weight_R.max()) < 1e3
    controller.observe(outcome)
    return controller.strategy.metrics(controller._state).get("price", 0.0)


def check(controller, steps, seconds, memory, price_S, strategy) -> None:
    """Hold the run to its promises, and print what was measured."""
    ledger = controller.ledger
    assert ledger.plans == ledger.closed == steps
    assert ledger.planned == ledger.rollouts == steps * BATCH * MEAN
    assert ledger.tokens == 9 * ledger.rollouts
    assert (ledger.missing, ledger.unscored, ledger.abandoned) == (0, 0, 0)
    assert controller.open_tickets == []
    # The first parts warm up: caches of the allocator, prompts that were never seen.
    later = np.array(memory[PARTS // 4 :], float)
    slope = np.polyfit(np.arange(len(later)) * (steps / PARTS), later, 1)[0]
    early, late = np.median(seconds[PARTS // 4 : PARTS // 2]), np.median(seconds[-PARTS // 4 :])
    print(f"{strategy}: {steps:,} steps at P={BATCH}, {ledger.rollouts:,} rollouts observed")
    print(
        f"  memory {later[0] / 2**20:.1f} -> {later[-1] / 2**20:.1f} MiB, slope {slope:.2f} bytes a step"
    )
    print(
        f"  step {1e3 * early:.3f} ms (second quarter) -> {1e3 * late:.3f} ms (last quarter), CPU time"
    )
    last_S = price_S[-steps // 10 :]
    print(f"  price of a rollout within {price_S.min():.4f}..{price_S.max():.4f}")
    print(f"  in the last tenth {last_S.min():.4f}..{last_S.max():.4f}")
    assert slope * (steps / 2) < 2**21, "memory grows with the number of steps"
    assert late < 1.25 * early, "steps become slower"
    assert np.isfinite(price_S).all()
    assert 0.0 <= price_S.min() <= price_S.max() < 1.0, "no rollout is worth more than one success"
    for name, array in controller.state_dict()["arrays"].items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name


if __name__ == "__main__":
    main()
