"""The controller without a trainer: numpy only, a simulated model, checkpoints and a log.

Run it: `python examples/core_only.py`. It takes about a second.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from gdro import Controller, Outcome, Problem, Request, RunLog, make_strategy

keys = [f"question-{i}" for i in range(200)]  # stable names: a dataset column, or a hash of the text
pass_rate_N = np.random.default_rng(0).beta(0.3, 1.0, len(keys))  # most of them hard


def generate_and_score(plan, rng):
    """Replace this by your trainer: sample answers and judge them."""
    correct_R = rng.random(len(plan.prompt_R)) < pass_rate_N[plan.prompt_R]
    return Outcome(plan.ticket, plan.prompt_R, correct_R.astype(float), correct_R)


def train(folder: Path, steps: int) -> Controller:
    """Plan, generate, weigh, observe; continue from the checkpoint if there is one."""
    strategy = make_strategy("prompt-gdro + rollout-gdro")
    log = RunLog(folder / "gdro")
    controller = Controller(strategy, Problem(prompt_keys=keys), seed=0, log=log)
    checkpoint = folder / "gdro.npz"
    if checkpoint.exists():
        controller.load(checkpoint)
    rng = np.random.default_rng(1)
    while controller.ledger.closed < steps:
        plan = controller.plan(Request(num_prompts=32, num_rollouts=128))
        outcome = generate_and_score(plan, rng)
        weights = controller.weigh(outcome)  # multiply your advantages by weights.weight_R
        assert weights.weight_R.shape == outcome.prompt_R.shape
        controller.observe(outcome)
        if controller.ledger.closed % 10 == 0:
            controller.save(checkpoint)
    return controller


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        train(Path(name), 30)
        controller = train(Path(name), 60)  # a second start continues from step 30
        metrics = controller.metrics()
    print(f"{controller.ledger.closed} steps, {controller.ledger.rollouts} rollouts, exactly the budget")
    print(
        f"rollouts per prompt: {metrics['gdro/rollouts_min']:.0f} to {metrics['gdro/rollouts_max']:.0f}"
    )
    print(f"largest weight {metrics['gdro/weight_max']:.2f}, price {metrics['gdro/price']:.4f}")


if __name__ == "__main__":
    main()
