"""Run strategies on simulated prompts with the real controller, run log and report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import OF_RUNS, check_name, write_json
from gdro.common.slices import SLICES
from gdro.controller import Controller
from gdro.difficulty.tracker import difficulty_of
from gdro.errors import GdroError
from gdro.log.run_log import RunLog
from gdro.numerics.arrays import FloatArray
from gdro.simulate.population import Population, SimulatedPolicy, SimulationError
from gdro.step.bounds import check_bounds
from gdro.step.checks import check_seed
from gdro.strategies.registry import named
from gdro.types import Request


@dataclass
class SimulatedArm:
    """A strategy and its options.

    Args:
        strategy: A name, a composition such as `a + b`, or a list of parts.
        options: Options of the strategy by name.
    """

    strategy: Any = "uniform"
    options: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Simulation:
    """A comparison of strategies on one population.

    Args:
        population: The prompts and how the policy learns.
        arms: Strategies to compare, by name of the arm.
        num_steps: Number of training steps.
        batch: Prompts per step, P.
        rollouts: Mean rollouts per prompt, n_bar.
        k: k of the pass@k that is reported.
        seed: Seed of the prompts, the rollouts and the controller, the same for every arm.
        difficulty: Options of `gdro.Difficulty` by name.
        delay: Number of steps between a plan and its closing, as in asynchronous training.

    Raises:
        SimulationError: A number is out of range.
    """

    population: Population = field(default_factory=Population)
    arms: dict[str, SimulatedArm] = field(default_factory=dict[str, SimulatedArm])
    num_steps: int = 1000
    batch: int = 256
    rollouts: int = 4
    k: int = 8
    seed: int = 0
    difficulty: dict[str, Any] = field(default_factory=dict[str, Any])
    delay: int = 0

    def check(self) -> None:
        """Raise SimulationError for a number out of range, before anything is simulated."""
        bounds = {"num_steps": 1, "batch": 1, "rollouts": 1, "k": 1, "delay": 0}
        for name, low in bounds.items():
            if getattr(self, name) < low:
                raise SimulationError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        check_seed(self.seed, "seed", SimulationError)
        if self.rollouts < 2:
            raise SimulationError(f"rollouts is {self.rollouts}; a group has at least 2")
        for name in self.arms:
            check_name(name, "the name of an arm", SimulationError, OF_RUNS)
        if self.batch > self.population.num_prompts:
            raise SimulationError(
                f"batch is {self.batch}, the population has {self.population.num_prompts} prompts; "
                "lower batch or raise population.num_prompts"
            )


def simulate(simulation: Simulation, output: Path, progress: Any = iter) -> dict[str, Any]:
    """Train every arm and compare true pass rates of held-out prompts.

    Args:
        simulation: The comparison to run.
        output: Folder of the results; each arm logs to `<arm>/gdro`, as a trainer does.
        progress: Wraps the iterable of steps, e.g. `tqdm`.

    Returns:
        The content of `summary.json`, with `base` and `arms` as from `gdro train`.

    Raises:
        SimulationError: A number is out of range.
        GdroError: A strategy, an option or the output folder is invalid.
    """
    simulation.check()
    arms = simulation.arms or {"uniform": SimulatedArm("uniform")}
    difficulty = difficulty_of(simulation.difficulty)
    strategies = {
        name: named(arm.strategy, arm.options, simulation.rollouts) for name, arm in arms.items()
    }
    for strategy in strategies.values():
        check_bounds(strategy, simulation.rollouts, "rollouts", warn=False)
    if (output / "summary.json").exists():
        raise GdroError(f"{output} already holds a simulation; pass another --output, or delete it")
    fresh = _policy(simulation)
    problem = fresh.problem()
    base, base_rate = _evaluated(fresh, simulation.k), fresh.rates(fresh.heldout)
    rows: dict[str, Any] = {}
    for name, strategy in strategies.items():
        folder = output / name
        log = RunLog(folder / "gdro")
        log.set_aside()
        controller = Controller(strategy, problem, seed=simulation.seed, difficulty=difficulty, log=log)
        policy = _policy(simulation)
        start = time.perf_counter()
        for _ in progress(_steps(controller, policy, simulation)):
            pass
        ledger = controller.ledger
        spent = {"rollouts": ledger.rollouts, "tokens": ledger.tokens}
        seconds = time.perf_counter() - start
        rows[name] = {**_evaluated(policy, simulation.k, base_rate), **spent, "seconds": seconds}
        write_json(folder / "eval.json", rows[name])
    base |= _sliced(base_rate, base_rate, simulation.k)
    summary = {"recipe": "simulate", "seed": simulation.seed, "base": base, "arms": rows}
    write_json(output / "summary.json", summary)
    return summary


def _policy(simulation: Simulation) -> SimulatedPolicy:
    return SimulatedPolicy(simulation.population, simulation.num_steps, simulation.seed)


def _steps(controller: Controller, policy: SimulatedPolicy, simulation: Simulation) -> Iterator[int]:
    """Plan, roll out, learn and, `delay` steps later, observe."""
    request = Request(simulation.batch, simulation.batch * simulation.rollouts)
    late: list[Any] = []
    for step in range(simulation.num_steps):
        plan = controller.plan(request)
        outcome, right_R = policy.roll_out(plan)
        while (extension := controller.extend(outcome)) is not None:
            further, further_right_R = policy.roll_out(extension)
            outcome = outcome.joined(further)
            right_R = np.concatenate([right_R, further_right_R])
        recalled = policy.learn(outcome, controller.weigh(outcome), right_R)
        late.append((step, outcome, recalled))
        if len(late) > simulation.delay:
            _close(controller, *late.pop(0))
        yield step
    for closing in late:
        _close(controller, *closing)


def _close(controller: Controller, step: int, outcome: Any, recalled: tuple[int, int]) -> None:
    # The surrogate of on-policy normalised advantages, which `signal=surrogate` would see.
    loss_R = np.zeros(len(outcome.prompt_R))
    controller.observe(outcome, loss_R, extra={"step": step}, recalled=recalled)


def _evaluated(policy: SimulatedPolicy, k: int, base_rate: FloatArray | None = None) -> dict[str, Any]:
    rate = policy.rates(policy.heldout)
    result = _metrics(rate, k)
    return result if base_rate is None else {**result, **_sliced(rate, base_rate, k)}


def _metrics(rate: FloatArray, k: int) -> dict[str, Any]:
    """Exact mean@k and pass@k of known pass rates; the interval is over prompts (normal)."""
    hit = 1.0 - (1.0 - rate) ** k
    half = 1.96 * float(hit.std()) / np.sqrt(len(hit))
    mean = float(hit.mean())
    return {
        f"pass@{k}": mean,
        f"mean@{k}": float(rate.mean()),
        f"ci_pass@{k}": [mean - half, mean + half],
        "num_prompts": len(rate),
    }


def _sliced(rate: FloatArray, base_rate: FloatArray, k: int) -> dict[str, Any]:
    masks = [(name, (base_rate >= low) & (base_rate < high)) for name, low, high in SLICES]
    return {"slices": [{"name": n, **_metrics(rate[m], k)} for n, m in masks if m.any()]}
