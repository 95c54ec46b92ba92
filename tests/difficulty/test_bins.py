"""Bins from a column, and from the product of a column and difficulty."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
from gdro import (
    CheckpointError,
    Controller,
    Difficulty,
    Outcome,
    Problem,
    ProblemError,
    Request,
    StrategyError,
    make_strategy,
)

KEYS = [f"k{i}" for i in range(12)]
TOPIC = ["algebra", "geometry", "number"] * 4


def made(strategy="uniform", bins="column", columns=None, **options):
    columns = {"topic": TOPIC} if columns is None else columns
    difficulty = Difficulty(bins=bins, column="topic", **options)
    return Controller(make_strategy(strategy), Problem(KEYS, columns=columns), difficulty=difficulty)


def close(c, rate_by_topic, num=12):
    plan = c.plan(Request(num, 4 * num, np.arange(num)))
    right_R = np.tile(np.arange(4), num) < np.repeat([rate_by_topic[TOPIC[i]] for i in range(num)], 4)
    outcome = Outcome(plan.ticket, plan.prompt_R, right_R * 1.0, right_R)
    weights = c.weigh(outcome)
    c.observe(outcome)
    return plan, weights


def test_a_column_gives_the_bins_and_they_stay():
    c = made()
    assert c.belief.num_bins == 3
    assert c.belief.bin_N.tolist() == [0, 1, 2] * 4
    close(c, {"algebra": 4, "geometry": 0, "number": 2})
    assert c.belief.bin_N.tolist() == [0, 1, 2] * 4
    assert c.belief.size_C.tolist() == [0, 4, 4, 4]


def test_group_dro_over_given_groups():
    """Classic GroupDRO: the worst group gets the weight."""
    c = made("prompt-gdro")
    for _ in range(5):
        plan, weights = close(c, {"algebra": 4, "geometry": 0, "number": 2})
    by_topic = [weights.weight_R[np.repeat(plan.bin_P, 4) == b].mean() for b in range(3)]
    assert by_topic[1] > 1.5 > 1.0 > by_topic[2] > by_topic[0]


def test_a_prompt_never_seen_borrows_from_its_category():
    c = made()
    close(c, {"algebra": 4, "geometry": 0, "number": 2}, num=6)
    rate = c.belief.pass_rate(np.array([9, 10, 11]))
    assert rate == pytest.approx([0.95, 0.05, 0.5])


def test_product_of_column_and_difficulty():
    c = made(bins="product", edges=(0.5,), k=1)
    assert c.belief.num_bins == 6
    assert set(c.belief.bin_N.tolist()) == {-1}
    close(c, {"algebra": 4, "geometry": 0, "number": 4}, num=6)
    assert c.belief.bin_N.tolist() == [1, 2, 5, 1, 2, 5, *[-1] * 6]
    for _ in range(3):
        close(c, {"algebra": 0, "geometry": 4, "number": 4}, num=6)
    assert c.belief.bin_N.tolist()[:6] == [0, 3, 5, 0, 3, 5]
    assert c._tracker.binning.labels[2:4] == ["geometry, 0 to 0.5", "geometry, 0.5 to 1"]


@pytest.mark.parametrize("bins", ["column", "product"])
def test_resume(bins, tmp_path):
    one = made("prompt-gdro", bins)
    close(one, {"algebra": 4, "geometry": 0, "number": 2})
    one.save(tmp_path / "a.npz")
    two = made("prompt-gdro", bins)
    two.load(tmp_path / "a.npz")
    for c in (one, two):
        close(c, {"algebra": 4, "geometry": 1, "number": 2})
    assert one.digest() == two.digest()


def moved_on(bins, tmp_path, keys, topics, strategy="prompt-gdro", load="match"):
    """A run over algebra, geometry and number, taken over by a pool of other topics."""
    one = made(strategy, bins)
    for _ in range(3):
        close(one, {"algebra": 4, "geometry": 0, "number": 2})
    one.plan(Request(3, 12))
    one.save(tmp_path / "a.npz")
    two = Controller(
        make_strategy(strategy),
        Problem(keys, columns={"topic": topics}),
        difficulty=Difficulty(bins=bins, column="topic"),
    )
    match = two.load(tmp_path / "a.npz", keys=load)
    return one, two, match


@pytest.mark.parametrize("bins", ["column", "product"])
def test_bins_follow_the_names_of_categories(bins, tmp_path):
    """Algebra went, topology came: what was learned of the others stays theirs."""
    keys, topics = [*(k for k, t in zip(KEYS, TOPIC, strict=True) if t != "algebra"), "new"], None
    topics = [*(t for t in TOPIC if t != "algebra"), "topology"]
    one, two, match = moved_on(bins, tmp_path, keys, topics)
    assert (match.matched, match.added, match.removed) == (8, 1, 4)
    labels = {c: np.array(c._tracker.binning.labels) for c in (one, two)}
    rows = match.own_M, match.saved_M
    name = {c: labels[c][c.belief.bin_N[rows[i]]].tolist() for i, c in enumerate((two, one))}
    assert name[two] == name[one]
    assert two.belief.bin_N[8] == (2 if bins == "column" else -1)
    for learned in ("score_B", "updates_B"):
        by_name = {c: dict(zip(labels[c], getattr(c._state, learned), strict=True)) for c in (one, two)}
        for label, value in by_name[two].items():
            assert value == (0 if "topology" in label else by_name[one][label])
    assert two._state.updates_B.any()
    rate = {c: c.belief.pass_rate(rows[i]) for i, c in enumerate((two, one))}
    assert np.array_equal(*rate.values())
    assert two.belief.pass_rate(np.array([8])) == pytest.approx(0.5)
    assert two.open_tickets == []
    assert two.belief.size_C.sum() == 9


def test_arms_of_bins_follow_their_category(tmp_path):
    topics = ["number", "logic", "geometry"] * 4
    one, two, _ = moved_on("column", tmp_path, KEYS, topics, "rollout-gdro(solver=exp3p)")
    assert one._state.score_BA.any()
    assert np.array_equal(two._state.score_BA[[0, 2]], one._state.score_BA[[1, 2]])
    assert not two._state.score_BA[1].any()
    assert two.belief.bin_N.tolist() == [2, 1, 0] * 4


@pytest.mark.parametrize("bins", ["column", "product"])
@pytest.mark.parametrize(
    ("topics", "words"),
    [
        (["biology", "geometry", "number"] * 4, ["3 categories", "algebra", "biology", "match"]),
        (["algebra", "geometry"] * 6, ["the dataset 2", "match"]),
        (["geometry", "algebra", "number"] * 4, ["8 prompts are in another category", "match"]),
    ],
)
def test_other_categories_are_refused_by_exact_keys(bins, topics, words, tmp_path):
    with h.raises(CheckpointError, *words):
        moved_on(bins, tmp_path, KEYS, topics, load="exact")


def test_relabelled_prompts_move_with_matched_keys(tmp_path):
    one, two, match = moved_on("column", tmp_path, KEYS, ["geometry", "algebra", "number"] * 4)
    assert match.same
    assert two.belief.bin_N.tolist() == [1, 0, 2] * 4
    assert np.array_equal(two._state.score_B, one._state.score_B)
    assert two.belief.size_C.tolist() == [0, 4, 4, 4]


def test_many_categories_and_few_take_other_bytes(tmp_path):
    """200 bins need two bytes a prompt, 3 need one: none wraps round."""
    keys = [f"k{i}" for i in range(200)]
    difficulty = Difficulty(bins="column", column="topic")
    many = Controller(
        make_strategy("sec"), Problem(keys, columns={"topic": keys}), difficulty=difficulty
    )
    many.save(tmp_path / "a.npz")
    columns = {"topic": keys[:3]}
    few = Controller(make_strategy("sec"), Problem(keys[:3], columns=columns), difficulty=difficulty)
    few.load(tmp_path / "a.npz", keys="match")
    assert few.belief.bin_N.tolist() == [0, 1, 2]
    assert few.belief.bin_N.dtype == np.int8


@pytest.mark.parametrize("names", [[], [1, 2, 3], ["a", "a", "b"], "abc", {"a": 1}])
def test_damaged_names_of_categories(names):
    state = made().state_dict()
    state["header"]["categories"] = names
    with h.raises(CheckpointError, "categories", "damaged"):
        made().load_state_dict(state, keys="match")


def test_what_is_refused():
    with pytest.raises(ProblemError, match="needs the column 'topic'"):
        made(columns={})
    with pytest.raises(StrategyError, match="column"):
        Difficulty(bins="column")
    with pytest.raises(StrategyError, match="column"):
        Difficulty(column="topic")
    with pytest.raises(StrategyError, match="at most 512"):
        keys = [f"k{i}" for i in range(600)]
        difficulty = Difficulty(bins="column", column="id")
        Controller(make_strategy("uniform"), Problem(keys, columns={"id": keys}), difficulty=difficulty)
    with pytest.raises(ProblemError, match="column 'level'"):
        Problem(KEYS, columns={"level": [1, 2]})
    with pytest.raises(ProblemError, match="not finite"):
        Problem(KEYS, columns={"level": [np.nan] * 12})
