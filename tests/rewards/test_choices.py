"""Letters as models write them, after public bug reports: each is read, or none is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdro.rewards import RewardError, multiple_choice
from gdro.rewards.choices import chosen, gold_letter

LIST = Path(__file__).parent / "choices.jsonl"
CASES = [json.loads(line) for line in LIST.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"])[:60])
def test_a_choice_is_what_was_stated(case: dict[str, str]) -> None:
    assert chosen(case["text"], case.get("choices", "ABCD")) == case["letter"]


def test_the_list_holds_both_sides() -> None:
    assert len(CASES) > 350 and 100 < sum(case["letter"] is None for case in CASES) < 200


@pytest.mark.parametrize(
    "gold",
    [
        *(
            "B",
            "b",
            " B\n",
            "(B)",
            "(b)",
            "B)",
            "B.",
            "[B]",
            "**B**",
            "$B$",
            "\uff22",
            "'B'",
            "Option B",
        ),
        *(r"\text{B}", r"\textbf{(B)}", r"\boxed{B}", "B. Paris", "(B) 42", "B: x=1", "Answer: B"),
    ],
)
def test_golds_are_read_as_sets_write_them(gold: str) -> None:
    assert gold_letter(gold, "ABCD") == "B"
    rewards = multiple_choice()(completions=["Answer: b", "Answer: C", ""], answer=[gold] * 3)
    assert rewards == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("gold", ["", " ", "AB", "A, B", "A or B", "E", "seven", None, 2.5, ["B"]])
def test_golds_that_are_no_letter_are_an_error(gold: object) -> None:
    with pytest.raises(RewardError, match=r"column 'answer' holds .*; it must hold one of 'ABCD'$"):
        multiple_choice()(completions=["B"], answer=[gold])


@pytest.mark.parametrize("gold", ["1", 1])
def test_an_index_is_not_guessed(gold: object) -> None:
    with pytest.raises(RewardError, match=r"an index from 0, convert it: 'ABCD'\[index\]"):
        multiple_choice()(completions=["B"], answer=[gold])


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{A}",
        "<answer>A or ",
        "the answer is ",
        "A, ",
        "A or ",
        ": ",
        "$",
        "\\(",
        "\\text{",
    ],
)
def test_a_megabyte_is_read(unit: str) -> None:
    """Quadratic patterns would keep this test running."""
    assert chosen(unit * (1_000_000 // len(unit))) in (None, "A")
