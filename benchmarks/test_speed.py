"""Speed of the controllers. Run by `make bench`; ratios compare measurements of one run.

Each case is named by what the table of targets in `table.py` asks for.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
import worlds
from dictionary_dp import choose_arms as dictionary_choose_arms

from gdro import Controller, Difficulty, Problem, make_strategy
from gdro.numerics.budget import choose_arms
from gdro.numerics.hashing import hash_keys

SIZES = (256, 512, 1024, 4096, 16_384)
STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform": ("uniform", {}),
    "prompt": ("prompt-gdro", {}),
    "bin": ("rollout-gdro", {}),
    "per-prompt": ("rollout-gdro", {"per": "prompt"}),
    "dp": ("rollout-gdro", {"split": False}),
}


def rounds(num_prompts: int) -> int:
    return 200 if num_prompts <= 1024 else 40


def test_yardstick(benchmark) -> None:
    """One numpy pass over 256 numbers: what the machine does at its best and at its median."""
    values = np.random.default_rng(0).random(256)
    benchmark.pedantic(np.maximum, (values, 0.5), rounds=2000, iterations=10, warmup_rounds=20)


@pytest.mark.parametrize("pool", [worlds.PAPER, 65_536, 1_000_000])
@pytest.mark.parametrize("num_prompts", SIZES)
@pytest.mark.parametrize("kind", STRATEGIES)
def test_plan(benchmark, kind: str, num_prompts: int, pool: int) -> None:
    if num_prompts > pool or (pool == 1_000_000 and num_prompts not in (256, 4096)):
        pytest.skip("not in the table")
    name, options = STRATEGIES[kind]
    controller, seed = worlds.controller(name, pool, **options), count()

    def setup():
        return (worlds.request(controller, num_prompts, next(seed)),), {}

    benchmark.pedantic(controller.plan, setup=setup, rounds=rounds(num_prompts), warmup_rounds=3)


@pytest.mark.parametrize("pool", [worlds.PAPER, 65_536, 1_000_000])
@pytest.mark.parametrize("num_prompts", SIZES)
@pytest.mark.parametrize("kind", ["uniform", "prompt", "bin"])
def test_weigh_and_observe(benchmark, kind: str, num_prompts: int, pool: int) -> None:
    if num_prompts > pool or (pool == 1_000_000 and num_prompts not in (256, 4096)):
        pytest.skip("not in the table")
    name, options = STRATEGIES[kind]
    controller, seed = worlds.controller(name, pool, **options), count()
    rate_N, rng = worlds.rates(pool), np.random.default_rng(2)

    def setup():
        plan = controller.plan(worlds.request(controller, num_prompts, next(seed)))
        return (worlds.outcome(plan, rate_N, rng),), {}

    def close(outcome):
        controller.weigh(outcome)
        controller.observe(outcome)

    benchmark.pedantic(close, setup=setup, rounds=rounds(num_prompts), warmup_rounds=3)


def arms(num_prompts: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Ten bins, arms 2..12, four rollouts a prompt; a total that whole bins can meet."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(num_prompts - 10, rng.dirichlet(np.full(10, 2.0))) + 1
    return rng.random((10, 11)), counts, worlds.N_BAR * num_prompts


@pytest.mark.parametrize("num_prompts", [256, 4096])
def test_dictionary_dp(benchmark, num_prompts: int) -> None:
    values, counts, total = arms(num_prompts)
    choice = benchmark.pedantic(
        dictionary_choose_arms, (values.tolist(), counts.tolist(), total, 2), rounds=5
    )
    # The baseline solves the same problem: equal value, exact total.
    ours = choose_arms(values, counts, total, 2, split=False) // counts
    rows = np.arange(10)
    assert counts @ np.array(choice) == total
    assert counts @ values[rows, np.array(choice) - 2] == pytest.approx(counts @ values[rows, ours - 2])


@pytest.mark.parametrize("tracker", ["decayed", "windowed"])
def test_checkpoint_of_a_million(benchmark, tracker: str, tmp_path) -> None:
    difficulty = Difficulty(tracker=tracker, window=100)
    keys = worlds.problem(1_000_000).prompt_keys
    controller = Controller(make_strategy("rollout-gdro"), Problem(keys), difficulty=difficulty)

    def round_trip():
        # Hashed anew, as a run does once: the pool keeps its hashes.
        controller.problem.__dict__["key_hash_N"] = hash_keys(keys)
        controller.save(tmp_path / "state.npz")
        controller.load(tmp_path / "state.npz")

    benchmark.pedantic(round_trip, rounds=3)
