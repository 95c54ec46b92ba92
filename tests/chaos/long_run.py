"""A hundred thousand steps of the controller: memory and time flat, weights finite, ledger exact.

Does the controller's work alone: rollouts are coin flips. `make chaos` runs it, then the default
strategy with a run log for ten thousand steps; prints the figures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gdro import Controller, Outcome, Problem, Request, RunLog, default_strategy, make_strategy
from gdro.log.run_log import GROUPS, STEPS, read_jsonl
from gdro.strategy import Strategy

PROMPTS, BATCH, MEAN = 14_100, 256, 4
PARTS = 20


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        controller: Its controller.
        steps: How many steps it took.
        price_S: Price of one more rollout after each.
        seconds: CPU time of a step, in each part of the run.
        memory: Bytes of the process after each part.
    """

    controller: Controller
    steps: int
    price_S: np.ndarray
    seconds: list[float]
    memory: list[int]


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="without a log")
    parser.add_argument("--logged", type=int, default=10_000, help="of the default strategy, with a log")
    options = parser.parse_args()
    report(taken(make_strategy("prompt-gdro + rollout-gdro"), options.steps))
    with tempfile.TemporaryDirectory() as folder:
        report(taken(default_strategy(MEAN), options.logged, RunLog(folder)))


def taken(strategy: Strategy, num_steps: int, log: RunLog | None = None) -> Run:
    """Take steps, in parts of the same length."""
    problem = Problem([f"p{i}" for i in range(PROMPTS)])
    controller = Controller(strategy, problem, seed=0, log=log)
    rate_N = np.random.default_rng(0).beta(0.4, 0.4, PROMPTS)
    steps = num_steps // PARTS
    run = Run(controller, steps * PARTS, np.full(steps * PARTS, np.nan), [], [])
    for part in range(PARTS):
        start = time.process_time()
        for step in range(part * steps, (part + 1) * steps):
            # Into an array that is written already: the driver itself takes no more memory later.
            run.price_S[step] = one_step(controller, rate_N, step)
        run.seconds.append((time.process_time() - start) / steps)
        run.memory.append(resident())
    return run


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
    return controller.strategy.metrics(controller._state)["price"]


def check(run: Run) -> None:
    """Ledger, price, state and log are as they must be after any number of steps."""
    controller, ledger, steps = run.controller, run.controller.ledger, run.steps
    assert ledger.plans == ledger.closed == steps
    assert ledger.planned == ledger.rollouts == steps * BATCH * MEAN
    assert ledger.tokens == 9 * ledger.rollouts
    assert (ledger.missing, ledger.unscored, ledger.abandoned) == (0, 0, 0)
    assert controller.open_tickets == []
    assert np.isfinite(run.price_S).all()
    assert 0.0 <= run.price_S.min() < run.price_S.max() < 1.0, "no rollout is worth more than a success"
    for name, array in controller.state_dict()["arrays"].items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name
    if controller.log is not None:
        folder = controller.log.directory
        tickets = (record["ticket"] for record in read_jsonl(folder / STEPS))
        assert all(found == step for found, step in zip(tickets, range(steps), strict=True))
        with (folder / GROUPS).open("rb") as file:
            assert sum(1 for _ in file) == steps * BATCH


def report(run: Run) -> None:
    """Print what was measured; memory and time may not grow with the number of steps."""
    check(run)
    steps, price_S = run.steps, run.price_S
    # The first parts warm up: caches of the allocator, prompts that were never seen.
    later = np.array(run.memory[PARTS // 4 :], float)
    slope = np.polyfit(np.arange(len(later)) * (steps / PARTS), later, 1)[0]
    early, late = (
        np.median(run.seconds[PARTS // 4 : PARTS // 2]),
        np.median(run.seconds[-PARTS // 4 :]),
    )
    rollouts = run.controller.ledger.rollouts
    kind = "no log" if run.controller.log is None else "with a log"
    print(
        f"{run.controller.strategy!r:.60}, {kind}: {steps:,} steps at P={BATCH}, {rollouts:,} rollouts"
    )
    print(
        f"  memory {later[0] / 2**20:.1f} -> {later[-1] / 2**20:.1f} MiB, slope {slope:.2f} bytes a step"
    )
    print(
        f"  step {1e3 * early:.3f} ms (second quarter) -> {1e3 * late:.3f} ms (last quarter), CPU time"
    )
    last_S = price_S[-steps // 10 :]
    print(f"  price of a rollout within {price_S.min():.4f}..{price_S.max():.4f}")
    print(f"  in the last tenth {last_S.min():.4f}..{last_S.max():.4f}", flush=True)
    assert slope * (steps / 2) < 2**21, "memory grows with the number of steps"
    assert late < 1.25 * early, "steps become slower"


if __name__ == "__main__":
    main()
