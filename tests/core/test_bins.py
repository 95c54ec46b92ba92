"""Bins from a column, and from the product of a column and difficulty."""

from __future__ import annotations

import numpy as np
import pytest

from gdro import (
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
