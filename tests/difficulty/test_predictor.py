"""Predicted pass rates: the regression by hand, its reliability, and what the tracker does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import Controller, Difficulty, Outcome, Problem, Request, make_strategy
from gdro.difficulty.features import Features
from gdro.difficulty.predictor import Predictor

N = 1600
RATE = np.array([0.95, 0.7, 0.4, 0.1, 0.02])
LEVEL = np.random.default_rng(5).integers(0, 5, N)
TEXTS = [f"Add {' and '.join(['a number'] * (1 + level))}." for level in LEVEL]
EMBEDDING = np.eye(5)[LEVEL] @ np.random.default_rng(1).normal(size=(5, 300))


def pool(**columns: Any) -> Problem:
    known = {"level": LEVEL, "topic": np.array([f"t{level}" for level in LEVEL]), "vector": EMBEDDING}
    return Problem([f"p{i}" for i in range(N)], columns=known | columns, texts=TEXTS)


def trained(
    strategy: str = "rollout-gdro", steps: int = 16, start: int = 0, **options: Any
) -> Controller:
    """A controller that saw each of some prompts once."""
    c = Controller(make_strategy(strategy), pool(), seed=1, difficulty=Difficulty(**options))
    return more(c, start, steps)


def more(c: Controller, start: int, steps: int) -> Controller:
    for step in range(start, start + steps):
        rng = np.random.default_rng([7, step])
        plan = c.plan(Request(64, 256, np.arange(64 * step, 64 * step + 64)))
        right = rng.random(256) < RATE[LEVEL[plan.prompt_R]]
        outcome = Outcome(plan.ticket, plan.prompt_R, right.astype(float), right, np.full(256, 3))
        c.weigh(outcome)
        c.observe(outcome)
    return c


UNSEEN = np.arange(1100, N)


def test_a_regression_by_hand() -> None:
    """Two visits a step to a category of two prompts each: A and b after two steps.

    The mean pass rate is .75 in the first step, and .995^2 .75 + (1 - .995^2) .375 after the second.
    """
    problem = Problem(list("abcd"), columns={"kind": np.array(["x", "x", "y", "y"])})
    predictor = Predictor(["kind"], problem)
    for rates in ([1.0, 0.5], [0.75, 0.0]):
        predictor.observe(np.array([0, 2]), np.array(rates), np.array([4, 4]))
    keep = 0.999**2
    row = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    gram = keep * (keep * np.eye(3) + (1 - keep) * np.eye(3) + row.T @ row) + (1 - keep) * np.eye(3)
    gram += row.T @ row
    total = keep * row.T @ [0.25, -0.25] + row.T @ [0.0, -0.75]
    assert predictor.arrays()["predictor_gram"] == pytest.approx(gram, abs=1e-12)
    assert predictor.arrays()["predictor_sum"] == pytest.approx(total, abs=1e-12)
    mean = 0.995**2 * 0.75 + (1 - 0.995**2) * 0.375
    expected = mean + np.array([[1, 1, 0], [1, 0, 1]]) @ np.linalg.solve(gram, total)
    assert predictor.mean(np.array([1, 3])) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("strength", "rollouts"), [(3.0, 4), (2.0, 8), (1.0, 16)])
def test_the_strength_is_that_of_the_pool(strength: float, rollouts: int) -> None:
    """Pass rates from Beta(S m, S (1 - m)) within a level: S is found, whatever n."""
    rng = np.random.default_rng(3)
    mean = np.array([0.2, 0.5, 0.7])[np.arange(60_000) % 3]
    rate = rng.beta(strength * mean, strength * (1 - mean))
    problem = Problem(list(map(str, range(60_000))), columns={"level": np.arange(60_000) % 3})
    predictor, found = Predictor(["level"], problem), []
    for start in range(0, 60_000, 300):
        prompt = np.arange(start, start + 300)
        right = rng.binomial(rollouts, rate[prompt])
        predictor.observe(prompt, right / rollouts, np.full(300, rollouts))
        found.append(predictor.strength(0.1))
    assert np.median(found[50:]) == pytest.approx(strength, rel=0.15)


def test_a_perfect_prediction_is_bounded_and_single_rollouts_say_nothing() -> None:
    problem = Problem(list(map(str, range(400))), columns={"level": np.arange(400) % 2})
    for rollouts, expected in ((64, 4.0), (1, 1.5)):
        predictor = Predictor(["level"], problem)
        for start in range(0, 400, 40):
            prompt = np.arange(start, start + 40)
            rate = np.array([0.25, 0.75])[prompt % 2]
            predictor.observe(prompt, rate, np.full(40, rollouts))
        assert predictor.strength(1.5) == expected


@pytest.mark.parametrize("columns", [["level"], ["topic"], ["prompt"], ["vector"], ["level", "prompt"]])
def test_unseen_prompts_are_predicted_and_get_bins_and_rollouts(columns: list[str]) -> None:
    c = trained(predictor=columns)
    error = np.abs(c.belief.pass_rate(UNSEEN) - RATE[LEVEL[UNSEEN]]).mean()
    plan = c.plan(Request(64, 256, UNSEEN[:64]))
    assert error < 0.1 and (plan.bin_P >= 0).all() and (c.belief.bin_N[UNSEEN] == -1).all()
    hard, easy = LEVEL[UNSEEN[:64]] == 3, LEVEL[UNSEEN[:64]] == 0
    assert plan.rollouts_P[hard].mean() > 1.5 * plan.rollouts_P[easy].mean()
    assert plan.rollouts_P.sum() == 256
    plain = trained()
    assert np.abs(plain.belief.pass_rate(UNSEEN) - RATE[LEVEL[UNSEEN]]).mean() > 0.25
    assert set(plain.plan(Request(64, 256, UNSEEN[:64])).bin_P) == {-1}


def test_nothing_is_predicted_before_64_visits() -> None:
    c = Controller(make_strategy("rollout-gdro"), pool(), difficulty=Difficulty(predictor=("level",)))
    assert set(c.plan(Request(64, 256, np.arange(64))).bin_P) == {-1}
    assert len(set(c.belief.pass_rate(UNSEEN))) == 1


@pytest.mark.parametrize("mode", ["resample", "reweight"])
def test_prompts_that_were_drawn_by_bin_keep_it(mode: str) -> None:
    """Importance weights and bandits count on the probability of the bin that was drawn."""
    strategy = make_strategy("prompt-gdro", mode=mode)
    c = more(Controller(strategy, pool(), difficulty=Difficulty(predictor=("level",))), 0, 4)
    plan = c.plan(Request(64, 256))
    unseen = c.belief.visits_N[plan.prompt_P] == 0
    assert unseen.any() and set((plan.bin_P[unseen] < 0).tolist()) == {mode == "resample"}


def test_what_was_seen_counts_more_than_what_is_predicted() -> None:
    c = trained(predictor=["level"])
    hard = np.flatnonzero(LEVEL[:1024] == 4)[:1]
    for _ in range(20):
        plan = c.plan(Request(1, 8, hard))
        outcome = Outcome(plan.ticket, plan.prompt_R, np.ones(8), np.ones(8, bool), np.full(8, 3))
        c.observe(outcome)
    unseen = UNSEEN[LEVEL[UNSEEN] == 4][:1]
    assert c.belief.pass_rate(hard)[0] > 0.5 > c.belief.pass_rate(unseen)[0]


def test_a_known_pass_rate_comes_before_a_predicted_one() -> None:
    prior = np.full(N, np.nan)
    prior[UNSEEN[0]] = 0.9
    problem = Problem([f"p{i}" for i in range(N)], prior_N=prior, columns={"level": np.zeros(N)})
    options = Difficulty(predictor=("level",), prior_strength=2.0)
    c = more(Controller(make_strategy("uniform"), problem, difficulty=options), 0, 4)
    alpha, beta = c.belief.posterior(UNSEEN[:2])
    assert (alpha[0], beta[0]) == pytest.approx((1.8, 0.2)) and alpha[1] / (alpha[1] + beta[1]) < 0.6


def test_it_forgets_as_the_policy_learns() -> None:
    problem = Problem(list(map(str, range(N))), columns={"level": LEVEL})
    predictor = Predictor(["level"], problem)
    for rate, steps in ((0.1, 40), (0.9, 60)):
        for _ in range(steps):
            predictor.observe(np.arange(64), np.full(64, rate, np.float64), np.full(64, 4))
    assert predictor.mean(UNSEEN).min() > 0.85


def test_a_saved_state_goes_on_alike(tmp_path: Path) -> None:
    options: dict[str, Any] = {"predictor": ["level", "prompt", "vector"]}
    whole = trained(steps=12, **options)
    part = trained(steps=8, **options)
    part.save(tmp_path / "c.npz")
    loaded = Controller(make_strategy("rollout-gdro"), pool(), seed=1, difficulty=Difficulty(**options))
    loaded.load(tmp_path / "c.npz")
    assert loaded.digest() == part.digest()
    assert more(loaded, 8, 4).digest() == whole.digest()
    assert (loaded.belief.pass_rate(UNSEEN) == whole.belief.pass_rate(UNSEEN)).all()


def test_ranks_that_see_rows_in_another_order_agree() -> None:
    """The sums of a matrix product depend on its shape; predictions are rounded."""
    c = trained(predictor=["level", "vector", "prompt"])
    one_by_one = np.concatenate([c.belief.pass_rate(UNSEEN[i : i + 1]) for i in range(50)])
    assert (one_by_one == c.belief.pass_rate(UNSEEN)[:50]).all()


def test_changed_columns_start_it_over_or_are_refused(tmp_path: Path) -> None:
    trained(predictor=["level"]).save(tmp_path / "c.npz")
    options = Difficulty(predictor=("level",))
    changed = pool(level=LEVEL % 3)
    c = Controller(make_strategy("rollout-gdro"), changed, seed=1, difficulty=options)
    with h.raises(gdro.CheckpointError, "columns of the predictor have other values", "keys='match'"):
        c.load(tmp_path / "c.npz")
    c.load(tmp_path / "c.npz", keys="match")
    assert c.belief.visits_N[:1024].all() and len(set(c.belief.pass_rate(UNSEEN))) == 1
    fewer = pool()
    kept = Problem(fewer.prompt_keys[10:], columns={"level": LEVEL[10:]})
    c = Controller(make_strategy("rollout-gdro"), kept, seed=1, difficulty=options)
    c.load(tmp_path / "c.npz", keys="match")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("predictor_gram", lambda a: -a),
        ("predictor_gram", lambda a: 0.5 * a),
        ("predictor_gram", lambda a: a + np.triu(np.ones_like(a), 1)),
        ("predictor_gram", lambda a: np.where(a == a[0, 0], np.nan, a)),
        ("predictor_sum", lambda a: a + np.inf),
        ("predictor_moments", lambda a: -a - 1),
        ("predictor_moments", lambda a: a * np.nan),
        ("predictor_gram", lambda a: a[:-1, :-1]),
        ("predictor_sum", lambda a: a.astype(np.float32)),
    ],
)
def test_damaged_states_are_refused_and_change_nothing(name: str, change: Any) -> None:
    c, state = trained(steps=2, predictor=["level"]), trained(predictor=["level"]).state_dict()
    state["arrays"][f"difficulty/{name}"] = change(state["arrays"][f"difficulty/{name}"])
    before = c.digest()
    with pytest.raises(gdro.CheckpointError, match="difficulty/predictor"):
        c.load_state_dict(state)
    assert c.digest() == before


@pytest.mark.parametrize(
    ("given", "names"), [((), ()), ("level", ("level",)), (["level", "prompt"], ("level", "prompt"))]
)
def test_names(given: Any, names: tuple[str, ...]) -> None:
    difficulty = Difficulty(predictor=given)
    assert difficulty.predictor == names == difficulty.columns
    assert ("predictor" in difficulty.identity()) == bool(names)


@pytest.mark.parametrize("given", [["level", "level"], [""], [3], 3, None, {"level": 1}])
def test_what_is_no_list_of_names_is_refused(given: Any) -> None:
    with pytest.raises(gdro.StrategyError, match=r"predictor is .* a list of distinct names of columns"):
        Difficulty(predictor=given)


def test_what_the_prompts_lack_is_said() -> None:
    bare = Problem(["a", "b"])
    for name, said in (("level", "predictor needs the column 'level'"), ("prompt", "texts=")):
        with pytest.raises(gdro.ProblemError, match=said):
            Controller(make_strategy("uniform"), bare, difficulty=Difficulty(predictor=(name,)))
    with pytest.raises(gdro.ProblemError, match="there are 1 texts; pass one string for each of 2"):
        Problem(["a", "b"], texts=["x"])
    with pytest.raises(gdro.ProblemError, match=r"texts\[1\] is None"):
        Problem(["a", "b"], texts=["x", None])  # pyright: ignore[reportArgumentType]
    vectors = Problem(["a", "b"], columns={"v": np.ones((2, 3))})
    for difficulty in (Difficulty(bins="column", column="v"), Difficulty(guess="v")):
        with pytest.raises(gdro.ProblemError, match="'v' has 3 numbers for each"):
            Controller(make_strategy("uniform"), vectors, difficulty=difficulty)


def test_features_have_a_length_of_about_one_for_each_column() -> None:
    many = np.random.default_rng(0).normal(size=N) * 1e6
    problem = pool(many=many, same=np.ones(N), flags=LEVEL > 2)
    for name in ("level", "topic", "prompt", "vector", "many", "same", "flags"):
        rows = Features([name], problem).rows(np.arange(N))
        length = np.sqrt(np.mean((rows[:, 1:] ** 2).sum(axis=1)))
        assert (rows[:, 0] == 1).all() and 0.9 < length < 1.6 and np.isfinite(rows).all(), name
    assert Features(["vector"], problem).num == 257
