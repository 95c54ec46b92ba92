"""Where the answer is looked for, and in which order."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.rewards import answer_of, format_reward
from gdro.rewards.extract import LONGEST, TAIL, braced, last_boxed, plain

CASES = {
    r"First \boxed{1}, then \boxed{2}.": "2",
    r"\boxed{\frac{1}{2}}": r"\frac{1}{2}",
    r"\boxed{\{1, 2\}}": r"\{1, 2\}",
    r"\boxed{\text{a } b} and \boxed{never closed": r"\text{a } b",
    r"\fbox{7}": "7",
    "<answer>12</answer>": "12",
    "<answer>1</answer> no: <ANSWER>\n 2 \n</ANSWER>": "2",
    r"<answer>\boxed{5}</answer>": "5",
    "<answer>$x^2$</answer>": "x^2",
    r"<answer>13</answer>, that is \boxed{14}": "14",
    "1 + 1 = 2\n#### 1,234": "1,234",
    "The final answer is $\\pi$.": r"\pi",
    "Answer: **42**.\nThank you for 3 questions.": "42",
    "the ANSWER IS: (3, 4)": "(3, 4)",
    "We add 3 and 4 and get 7 apples": "7",
    "about -1,234.5 degrees": "-1,234.5",
    "a half is 1/2": "1/2",
    "no answer at all": None,
    "": None,
    r"\boxed{}": None,
}


@pytest.mark.parametrize(("text", "answer"), CASES.items())
def test_the_last_of_the_first_kind(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    "text", [" $5$. ", r"\(5\)", r"\[ 5 \]", "$$5$$", r"$\boxed{5}$", r"\boxed{$5$}.", "**5**", "5"]
)
def test_plain_takes_off_what_stands_around(text: str) -> None:
    assert plain(text) == "5"


def test_a_sum_of_boxes_stays_whole() -> None:
    assert plain(r"\boxed{1} + \boxed{2}") == r"\boxed{1} + \boxed{2}"
    assert plain("$$1$ or $2$$") == "1$ or $2"  # no mathematics either way: read by nobody


def test_only_the_end_is_looked_at_and_long_answers_are_none() -> None:
    assert answer_of(r"\boxed{1}" + " " * TAIL) is None
    assert answer_of("\\boxed{" + "1" * LONGEST + "}") == "1" * LONGEST
    assert answer_of("\\boxed{" + "1" * (LONGEST + 1) + "}") is None


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "{", "}", "<answer>", "the answer is ", "####", "$", "\\", "1,", "\n", "-", "**"],
)
def test_a_megabyte_of_openings_is_read(unit: str) -> None:
    """Nested and repeated openings do not multiply: else this test would not end."""
    found = answer_of(unit * (1_000_000 // len(unit)))
    assert found is None or 0 < len(found) <= LONGEST
    assert len(plain(unit * (10_000 // len(unit)))) <= 10_000


def last_boxed_by_hand(text: str) -> str | None:
    """Each box from the last on, its braces counted up to the one that closes it."""
    for found in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth, at = 1, found.end()
        while at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if not depth:
                return text[found.end() : at]
            at += 2 if text[at] == "\\" else 1
    return None


pieces = st.sampled_from(
    ["\\boxed{", "\\fbox {", "\\boxed", "{", "}", "}", "\\", "\\{", "\\}", "1", " ", "x"]
)


def test_many_floods_are_read() -> None:
    """Each is looked through once: else this test would not end."""
    flood = ["<answer>" + "\\boxed{" * 10_000] * 60
    assert set(map(answer_of, flood)) == {None}
    assert set(format_reward()(completions=flood)) == {0.0}


@given(st.lists(pieces, max_size=24).map("".join))
@settings(max_examples=1000, deadline=None)
def test_the_last_box_is_the_one_that_counting_finds(text: str) -> None:
    boxes = braced(text)
    assert (boxes[-1][2] if boxes else None) == last_boxed_by_hand(text)


@given(st.text(alphabet=st.characters(), max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_text_has_an_answer_or_none(text: str) -> None:
    found = answer_of(text)
    assert found is None or 0 < len(found) <= LONGEST
    inner = last_boxed("\\boxed{" + text + "}")
    assert inner is None or isinstance(inner, str)
