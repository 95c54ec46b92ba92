"""Figures against brute force, and comparisons."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.evaluation import EvaluationError, Record, compare, comparison_table, markdown, scores
from gdro.evaluation.scores import figures, majority
from gdro.evaluation.table import details


def record(right: list[bool], name: str = "p", **fields) -> Record:
    size = len(right)
    given = {"set": "s", "source": "src", "level": "", "answers": ["1" if r else "2" for r in right]}
    beside = {"tokens": [3] * size, "texts": [""] * size}
    return Record(prompt_id=name, right=right, **{**given, **beside, **fields})


samples = st.integers(1, 8).flatmap(
    lambda size: st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=1, max_size=6)
)


@given(samples, st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_success(
    rows: list[list[bool]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(rows[0])))
    shares = []
    for row in rows:
        subsets = [any(row[i] for i in chosen) for chosen in combinations(range(len(row)), k)]
        shares.append(Fraction(sum(subsets), len(subsets)))
    found = figures([record(row, str(i)) for i, row in enumerate(rows)], [k])
    assert abs(found[f"pass@{k}"] - float(sum(shares) / len(shares))) < 1e-12
    low, high = found[f"ci_pass@{k}"]
    assert 0 <= low <= found[f"pass@{k}"] + 1e-12 and found[f"pass@{k}"] - 1e-12 <= high <= 1 + 1e-12
    size = len(rows[0])
    assert found[f"mean@{size}"] == pytest.approx(sum(map(sum, rows)) / size / len(rows))


@pytest.mark.parametrize(
    ("answers", "right", "vote"),
    [
        (["1", "1", "2"], [True, True, False], 1.0),
        (["1", "2", "2"], [True, False, False], 0.0),
        (["1", "2"], [True, False], 0.5),
        ([None, None, "1"], [False, False, True], 1.0),
        ([None, None], [False, False], 0.0),
        (["x + 1", "x+1", "2", "2", "3"], [True, True, False, False, False], 0.5),
        # One value in several spellings: right ones, numbers, and texts in one notation.
        (["1/2", "0.5", "3", "3"], [True, True, False, False], 0.5),
        (["1/2", "0.5", "\\frac{1}{2}", "3", "3"], [True, True, True, False, False], 1.0),
        (["x+1", "1+x", "2", "2", "3"], [True, True, False, False, False], 0.5),
        (["7", "7", "1/2", "0.5", ".5"], [True, True, False, False, False], 0.0),
        (["7", "7", "3", "3.0", "\\dfrac{6}{2}"], [True, True, False, False, False], 0.0),
        (["7", "7", "1,234", "1234", "1{,}234"], [True, True, False, False, False], 0.0),
        (["7", "7", "-2", "\u22122", "-2.0"], [True, True, False, False, False], 0.0),
        (["7", "7", "\\text{no}", "no"], [True, True, False, False], 0.5),
        (["7", "7", "1/0", "2/0", "3/0"], [True, True, False, False, False], 1.0),
        (["7", "7", "0.5", "0.50001", "0.5"], [True, True, False, False, False], 0.5),
        (["7", "7", "", ""], [True, True, False, False], 0.5),
    ],
)
def test_a_majority_votes(answers: list, right: list[bool], vote: float) -> None:
    assert majority(record(right, answers=answers)) == vote


def test_several_right_answers_of_reasoning_gym_vote_apart() -> None:
    found = record([True, True, False, False, False], answers=["ab", "ba", "c", "c", "d"])
    assert majority(found) == 0.5
    assert majority(replace(found, set="reasoning-gym:word_ladder")) == 0.0


def test_unknown_tokens_and_levels_are_left_out() -> None:
    rows = [record([True], "a", tokens=[None]), record([True], "b", tokens=[4], level="1")]
    assert figures(rows, [1])["tokens"] == 4.0 and scores(rows, [1])["groups"] == {}
    table = details(scores(rows[:1], [1]), [1])
    assert table.count("unknown") == 2 and "None" not in table


def test_right_answers_that_differ_are_not_compared() -> None:
    one, other = record([True], gold_hash="a" * 16), record([True], gold_hash="b" * 16)
    with pytest.raises(
        EvaluationError, match=r"right answers of 1 problems differ, first of 'p' in 's'"
    ):
        compare([one], [other], 1)
    assert compare([one], [record([True])], 1)["all"]["num_prompts"] == 1  # an older file has no hash


def test_groups_have_a_worst_and_slices_follow_the_base() -> None:
    rows = [
        record([True, True], "a", level="1"),
        record([True, False], "b", level="2"),
        record([False, False], "c", level="2", set="t"),
    ]
    found = scores(rows, [1, 2], {("s", "a"): 0.95, ("s", "b"): 0.0, ("t", "c"): 0.0})
    assert found["sets"]["all"]["mean@2"] == 0.5 and list(found["sets"]) == ["s", "t", "all"]
    assert found["groups"]["level"]["worst"] == "t: 2" and "source" in found["groups"]
    assert found["slices"]["hardest (base p < .02)"]["num_prompts"] == 2
    table = details(found, [1, 2])
    assert "level t: 2 (worst)" in table and "easy (base p >= .9)" in table
    assert "| model | s mean@2 | t mean@2 | pass@2 | 95% interval |" in markdown({"m": found}, 2)
    with pytest.raises(EvaluationError, match="lacks 2 of 3 problems"):
        scores(rows, [1], {("s", "a"): 1.0})


def test_a_comparison_is_paired() -> None:
    first = [record([i % 2 == 0, False], str(i)) for i in range(40)]
    second = [record([i % 2 == 0, i % 4 == 1], str(i)) for i in range(40)][::-1]
    found = compare(first, second, 2)
    assert found["all"] == found["s"]
    change = found["all"]["pass@2"]
    assert (change["first"], change["second"], change["difference"]) == (0.5, 0.75, 0.25)
    assert 0 < change["low"] < 0.25 < change["high"] and (change["better"], change["worse"]) == (10, 0)
    assert "+25.00" in comparison_table(found)
    same = compare(first, first, 1)["all"]["mean"]
    assert (same["difference"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    with pytest.raises(EvaluationError, match="the first has 40 problems, the second 39, of which 39"):
        compare(first, second[1:], 1)
    with pytest.raises(EvaluationError, match="k is 3; it must be from 1 to the 2 samples"):
        compare(first, second, 3)


def test_what_is_wrong_is_said() -> None:
    for rows, ks, why in (
        ([], [1], "no records"),
        ([record([True]), record([True, True])], [1], "1 to 2 samples"),
        ([record([True])], [2], r"k is \[2\]"),
        ([record([True])], [], "missing"),
    ):
        with pytest.raises(EvaluationError, match=why):
            scores(rows, ks)
