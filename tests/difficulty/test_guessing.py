"""The correction for guessing: skill instead of pass rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro import Controller, Difficulty, Outcome, Problem, Request, make_strategy
from gdro.difficulty.guessing import Guessing, guessing
from gdro.errors import ProblemError, StrategyError

KEYS = ["a", "b", "c", "d"]


def observed(difficulty: Difficulty, right: int, of: int, visits: int = 1, strategy: str = "uniform"):
    """A controller that saw `right` of `of` rollouts of each of four prompts right, some visits long."""
    columns = {"choices": [2, 4, 5, 10], "odds": [0.5, 0.25, 0.2, 0.0]}
    problem = Problem(KEYS, columns=columns)
    controller = Controller(make_strategy(strategy), problem, difficulty=difficulty)
    for _ in range(visits):
        plan = controller.plan(Request(4, 4 * of, np.arange(4)))
        correct_R = np.tile(np.arange(of) < right, 4)
        outcome = Outcome(plan.ticket, np.repeat(plan.prompt_P, of), correct_R * 1.0, correct_R)
        controller.weigh(outcome)
        controller.observe(outcome)
    return controller


@given(st.floats(0, 0.9), st.floats(0, 50), st.floats(0, 50))
def test_formula_scoring(guess: float, success: float, failure: float) -> None:
    """The share of skilled successes is (p - g) / (1 - g), or zero; the trials stay the same."""
    prompt_P = np.array([0])
    right, wrong = Guessing(guess, None).skilled(prompt_P, np.array([success]), np.array([failure]))
    assert right[0] >= 0 and right[0] + wrong[0] == pytest.approx(success + failure)
    if success + failure > 1e-6:
        rate = success / (success + failure)
        wanted = max(0.0, (rate - guess) / (1 - guess))
        assert right[0] / (right[0] + wrong[0]) == pytest.approx(wanted, abs=1e-9)


def test_a_prompt_at_the_rate_of_guesses_counts_as_unsolved() -> None:
    """One of four right with four options is no skill; without the correction it is a quarter."""
    plain, corrected = (observed(Difficulty(guess=g), 1, 4, visits=6) for g in (0.0, 0.25))
    every = np.arange(4)
    assert plain.belief.pass_rate(every) == pytest.approx(np.full(4, 0.25), abs=0.03)
    assert (corrected.belief.pass_rate(every) < 0.03).all()
    assert corrected.belief.chance(every) == pytest.approx(np.full(4, 0.27), abs=0.03)
    assert (corrected.belief.bin_N < plain.belief.bin_N).all()
    assert corrected.belief.counts(every)[0] == pytest.approx(np.zeros(4))
    assert (observed(Difficulty(guess=0.25), 4, 4, 6).belief.pass_rate(every) > 0.9).all()


def test_no_guessing_changes_nothing() -> None:
    """Zero is the default: beliefs, digests and files are those of versions without the option."""
    plain, zero = observed(Difficulty(), 1, 4, 3), observed(Difficulty(guess=0), 1, 4, 3)
    assert plain.digest() == zero.digest()
    assert "guess" not in Difficulty().identity() and Difficulty(guess=0.5).identity()["guess"] == 0.5


@pytest.mark.parametrize(
    ("column", "rate"), [("choices", [0.5, 0.25, 0.2, 0.1]), ("odds", [0.5, 0.25, 0.2, 0.0])]
)
def test_columns_of_choices_and_of_probabilities(column: str, rate: list[float]) -> None:
    controller = observed(Difficulty(guess=column), 2, 4)
    own = guessing(column, controller.problem)
    assert own is not None and own.rate(np.arange(4)) == pytest.approx(rate)


def test_thompson_draws_near_a_skill_avoid_prompts_that_are_only_guessed() -> None:
    """Draws near .1 take what is solved once in ten by luck, unless guesses are corrected."""
    problem = Problem([str(i) for i in range(200)])

    def share(guess: float) -> float:
        strategy = make_strategy("mopps(target=0.1)")
        controller = Controller(strategy, problem, difficulty=Difficulty(guess=guess))
        rng = np.random.default_rng(0)
        rate_N = np.where(np.arange(200) < 100, 0.1, 0.25)
        picked: list[float] = []
        for _ in range(40):
            plan = controller.plan(Request(50, 400))
            correct_R = rng.random(400) < rate_N[plan.prompt_R]
            outcome = Outcome(plan.ticket, plan.prompt_R, correct_R * 1.0, correct_R)
            controller.weigh(outcome)
            controller.observe(outcome)
            picked.append(float((plan.prompt_P < 100).mean()))
        return float(np.mean(picked[10:]))

    assert share(0.0) > share(0.1) + 0.1


@pytest.mark.parametrize("guess", [-0.1, 1, 1.0, float("nan"), "", None, True, [0.1]])
def test_values_out_of_range_are_refused(guess) -> None:
    with pytest.raises(StrategyError, match=r"guess is .*; allowed: the probability .* column"):
        Difficulty(guess=guess)


def test_a_number_of_choices_is_told_as_a_probability() -> None:
    with pytest.raises(StrategyError, match=r"guess is 4; .* \(with 4 choices: 0.25\)"):
        Difficulty(guess=4)


def test_columns_are_checked() -> None:
    with pytest.raises(ProblemError, match=r"guess='options' needs the column 'options'"):
        guessing("options", Problem(KEYS))
    with pytest.raises(ProblemError, match=r"column 'options' is 1.* for prompt 'b'; allowed"):
        guessing("options", Problem(KEYS, columns={"options": [2, 1, 3, 4]}))
    with pytest.raises(ProblemError, match=r"'four'"):
        guessing("options", Problem(KEYS, columns={"options": ["four"] * 4}))
    with pytest.raises(StrategyError, match="guess with estimator"):
        Difficulty(guess=0.25, estimator="any")
