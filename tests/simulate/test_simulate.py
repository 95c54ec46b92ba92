"""The simulator: an exact GRPO update of a logistic policy, under the real controller."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gdro import Controller, GdroError, Problem, Request, list_strategies, make_strategy
from gdro.cli import main
from gdro.log.run_log import read_jsonl
from gdro.simulate import Population, SimulatedPolicy, Simulation, simulate
from gdro.simulate.population import SimulationError
from gdro.simulate.run import SimulatedArm

SMALL = {"num_prompts": 60, "num_heldout": 40, "num_skills": 4}


def small(**options) -> Simulation:
    options = {"num_steps": 12, "batch": 16, "seed": 3} | options
    return Simulation(population=Population(**SMALL | options.pop("population", {})), **options)


def arms(*names: str) -> dict[str, SimulatedArm]:
    return {name: SimulatedArm(name) for name in names}


def play(population: Population, steps: int = 1, strategy: str = "uniform", **options):
    """A world after some steps, and the last step's records."""
    world = SimulatedPolicy(population, steps, seed=1)
    keys = [str(i) for i in range(population.num_prompts)]
    controller = Controller(make_strategy(strategy, **options), Problem(prompt_keys=keys))
    for _ in range(steps):
        plan = controller.plan(Request(16, 64))
        before = world.rates(plan.prompt_P)
        outcome, right_R = world.roll_out(plan)
        weights = controller.weigh(outcome)
        world.learn(outcome, weights, right_R)
        controller.observe(outcome)
    return world, plan, before, outcome, right_R, weights


def test_learning_is_the_grpo_gradient_of_the_logistic_policy() -> None:
    population = Population(**SMALL, rate_own=0.0, rate_skill=0.0, rate_shared=0.7)
    world, plan, rate_P, outcome, right_R, _ = play(population)
    total, start = 0.0, 0
    for p, n in enumerate(plan.rollouts_P):
        reward = outcome.reward_R[start : start + n]
        advantage = (reward - reward.mean()) / (reward.std(ddof=1) + 1e-4)
        total += (advantage * (right_R[start : start + n] - rate_P[p])).sum() / 64
        start += n
    assert total > 0
    logit = np.log(world.rates(world.heldout) / (1 - world.rates(world.heldout)))
    fresh = SimulatedPolicy(population, 1, seed=1)
    base = np.log(fresh.rates(fresh.heldout) / (1 - fresh.rates(fresh.heldout)))
    assert np.allclose(logit - base, 0.7 * total)


def test_own_ability_stays_with_its_prompt_and_skills_with_their_prompts() -> None:
    fresh = SimulatedPolicy(Population(**SMALL), 1, seed=1)
    everyone = np.arange(60)
    own, plan, *_ = play(Population(**SMALL, rate_shared=0.0, rate_skill=0.0))
    assert set(np.flatnonzero(own.rates(everyone) != fresh.rates(everyone))) <= set(plan.prompt_P)
    assert np.array_equal(own.rates(own.heldout), fresh.rates(fresh.heldout))
    skill, *_ = play(Population(**SMALL, rate_shared=0.0, rate_own=0.0))
    assert (skill.rates(skill.heldout) != fresh.rates(fresh.heldout)).any()


def test_rates_of_zero_learn_nothing() -> None:
    still = Population(**SMALL, rate_shared=0.0, rate_skill=0.0, rate_own=0.0)
    world, *_ = play(still, steps=5)
    assert np.array_equal(world.rates(world.heldout), SimulatedPolicy(still, 1, 1).rates(world.heldout))


def test_unlearnable_prompts_are_never_solved_and_hold_nobody_back() -> None:
    world, *_, outcome, right_R, _ = play(Population(**SMALL, unlearnable=1.0), steps=3)
    assert not right_R.any()
    assert not outcome.correct_R.any()
    assert not world.rates(world.heldout).any()
    share = (
        SimulatedPolicy(Population(num_prompts=4000, unlearnable=0.3), 1, 0).rates(np.arange(4000)) == 0
    )
    assert share.mean() == pytest.approx(0.3, abs=0.03)


def test_noise_wrong_labels_and_drift_change_scores_not_truth() -> None:
    flipped = play(Population(**SMALL, verifier_noise=1.0))
    assert np.array_equal(flipped[3].correct_R, ~flipped[4])
    mislabelled = play(Population(**SMALL, wrong_labels=1.0))
    assert mislabelled[4].any()
    assert not mislabelled[3].correct_R.any()
    drifting = Population(**SMALL, verifier_drift=1.0)
    first, last = play(drifting, steps=1), play(drifting, steps=6)
    assert np.array_equal(first[3].correct_R, first[4])
    assert last[3].correct_R.all()
    assert not last[4].all()


@pytest.mark.parametrize("strategy", list_strategies())
def test_every_strategy_runs_and_spends_the_same(strategy: str, tmp_path: Path) -> None:
    summary = simulate(small(arms=arms("uniform", strategy)), tmp_path)
    extends = make_strategy(strategy).extends
    for name, arm in summary["arms"].items():
        assert (arm["rollouts"] == 12 * 16 * 4) != (name == strategy and extends)
        assert arm["tokens"] > 0
        assert 0 <= arm["mean@8"] <= arm["pass@8"] <= 1
    assert len(list(read_jsonl(tmp_path / strategy / "gdro" / "steps.jsonl"))) == 12


def test_same_seed_same_numbers_and_arms_do_not_disturb_each_other(tmp_path: Path) -> None:
    def strip(summary):
        return {n: {k: v for k, v in a.items() if k != "seconds"} for n, a in summary["arms"].items()}

    both = strip(simulate(small(arms=arms("rollout-gdro", "uniform")), tmp_path / "a"))
    alone = strip(simulate(small(arms=arms("uniform")), tmp_path / "b"))
    other = strip(simulate(small(arms=arms("uniform"), seed=4), tmp_path / "c"))
    assert both["uniform"] == alone["uniform"] != other["uniform"]


def test_training_helps_and_late_closing_closes_every_plan(tmp_path: Path) -> None:
    options = {"num_steps": 150, "population": {"rate_shared": 0.1}}
    summary = simulate(small(**options, delay=5), tmp_path)
    assert summary["arms"]["uniform"]["pass@8"] > summary["base"]["pass@8"] + 0.05
    ledger = list(read_jsonl(tmp_path / "uniform" / "gdro" / "steps.jsonl"))[-1]["ledger"]
    assert ledger["closed"] == ledger["plans"] == 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 61}, "60 prompts"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"delay": -1}, "delay is -1"),
        ({"arms": arms("unifrom")}, "did you mean"),
    ],
)
def test_bad_numbers_stop_before_anything_runs(change, message, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match=message):
        simulate(small(**change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", [{"num_prompts": 0}, {"unlearnable": 1.2}, {"verifier_noise": -0.1}, {"mixture": []}]
)
def test_bad_population(options) -> None:
    with pytest.raises(SimulationError, match=next(iter(options))):
        Population(**options)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sim"
    command = [
        "simulate",
        "--output",
        str(folder),
        "--strategy",
        "rollout-gdro",
        "num_steps=6",
        "batch=16",
        "population.num_prompts=50",
        "arms.rollout-gdro.options.n_max=6",
    ]
    assert main(command) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["arms"]) == ["rollout-gdro"]
    assert "<html" in (folder / "report.html").read_text()
    groups = list(read_jsonl(folder / "rollout-gdro" / "gdro" / "groups.jsonl"))
    assert max(g["n"] for g in groups) <= 6
    capsys.readouterr()
    assert main(command) == 2
    assert "already holds a simulation" in capsys.readouterr().err
    assert main(["simulate", "populaton.num_prompts=5"]) == 2
    assert "populaton" in capsys.readouterr().err
