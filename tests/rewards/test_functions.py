"""Reward functions as TRL and verl call them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from gdro.data import load
from gdro.rewards import (
    MathVerifier,
    RewardError,
    combined,
    exact_match,
    format_reward,
    gym_reward,
    math_reward,
    multiple_choice,
)
from gdro.rewards.verl import compute_score


def called(function: Any, completions: list, **columns: Any) -> list[float]:
    """As TRL calls it: with what it passes beside the dataset's columns."""
    beside = {"prompts": [""] * len(completions), "completion_ids": [[0]] * len(completions)}
    return function(completions=completions, trainer_state=None, log_metric=print, **beside, **columns)


def test_math_verify_is_missed_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(RewardError, match=r"gdro\[math\]"):
        math_reward()


def test_math_reward_reads_texts_and_conversations(verifier: MathVerifier) -> None:
    reward = math_reward(verifier)
    texts = [r"\boxed{0.5}", "<answer>1/2</answer>", "it is 3", ""]
    golds = [r"\frac{1}{2}"] * 4
    assert called(reward, texts, answer=golds) == [1.0, 1.0, 0.0, 0.0]
    talks = [[{"role": "assistant", "content": text}] for text in texts]
    assert called(reward, talks, answer=golds) == [1.0, 1.0, 0.0, 0.0]
    assert called(math_reward(verifier, "gold"), ["5"], gold=["5"], answer=["6"]) == [1.0]


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("#### Two  Dogs", 1.0),
        ("two dogs", 1.0),
        ("<answer>two dogs.</answer>", 1.0),
        ("two cats", 0.0),
        ("", 0.0),
    ],
)
def test_exact_match_folds_case_and_spaces(completion: str, right: float) -> None:
    assert called(exact_match(), [completion], answer=["Two dogs"]) == [right]


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{C}}", "C"),
        ("The answer is (D).", "D"),
        ("Answer: B) seven", "B"),
        ("A is wrong, so I take C", "C"),
        ("<answer>A</answer> B", "A"),
        ("**B**", "B"),
        ("A man said: D.", "D"),
        ("I do not know", None),
        ("", None),
        ("Because", None),
        ("CAB", None),
        ("The answer is **C**.", "C"),
    ],
)
def test_a_choice_is_found(completion: str, letter: str | None) -> None:
    found = [called(multiple_choice(), [completion], answer=[gold])[0] for gold in "ABCD"]
    assert found == [float(gold == letter) for gold in "ABCD"]


def test_format_is_a_pattern_of_the_whole() -> None:
    assert called(format_reward(), [r"so \boxed{1}." + "\n", "so 1", r"\boxed{}"]) == [1.0, 0.0, 0.0]
    tags = format_reward(r"<think>.*</think>\s*<answer>.*</answer>")
    assert called(
        tags, ["<think>\n</think>\n<answer>1</answer>", "x <think></think><answer></answer>"]
    ) == [1.0, 0.0]


def test_parts_add_up() -> None:
    both = combined({exact_match(): 1.0, format_reward(): 0.1})
    found = called(both, [r"\boxed{5}", "5", r"\boxed{6}"], answer=["5"] * 3)
    assert found == pytest.approx([1.1, 1.0, 0.1])


@pytest.mark.parametrize(
    "content",
    [None, "", [], [None], [{"type": "image"}], [{"type": "reasoning", "text": "7"}], {"type": "image"}],
)
def test_a_message_without_text_is_an_answer_without_text(content: Any, verifier: MathVerifier) -> None:
    talk = [{"role": "assistant", "content": content}]
    for completion in (talk, [{"role": "assistant"}], []):
        assert called(math_reward(verifier), [completion], answer=["7"]) == [0.0]
        assert called(multiple_choice(), [completion], answer=["B"]) == [0.0]
        assert called(exact_match(), [completion], answer=["7"]) == [0.0]
        assert called(format_reward(), [completion]) == [0.0]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": r"\boxed{7}"}],
        [{"type": "text", "text": r"\bo"}, {"type": "image"}, {"type": "text", "text": "xed{7}"}],
        [{"text": r"\boxed{7}"}],
        [{"type": "output_text", "text": r"\boxed{7}"}],
        [{"type": "thinking", "text": r"\boxed{8}"}, r"\boxed{7}"],
        {"type": "text", "text": r"\boxed{7}"},
    ],
)
def test_the_parts_of_a_message_are_its_text(content: Any, verifier: MathVerifier) -> None:
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]
    assert called(math_reward(verifier), [talk], answer=["7"]) == [1.0]
    assert called(exact_match(), [tuple(talk)], answer=["7"]) == [1.0]


@pytest.mark.parametrize(
    ("completion", "gold", "right"),
    [
        ("no idea at all", "", 0.0),
        ("", "", 0.0),
        (r"\boxed{}", "", 0.0),
        ("", r"\text{ }", 0.0),
        ("$ $", "  ", 0.0),
        (r"\boxed{\text{Paris}}", "Paris", 1.0),
        (r"\boxed{\textbf{paris}}", r"\text{Paris}", 1.0),
        ("The answer is **New York**.", "new york", 1.0),
        ("S\u00e3o Paulo", "Sa\u0303o Paulo", 1.0),
        ("cafe\u0301", "caf\u00e9", 1.0),
        ("cafe", "caf\u00e9", 0.0),
        ("x\u00b2", "x2", 0.0),
        ("<think>London?</think>\nParis", "Paris", 1.0),
        ("<think>London?</think>\nParis", "London", 0.0),
        ("<think>Paris", "<think>Paris", 0.0),
        ("stra\u00dfe", "STRASSE", 1.0),
        ("-", "-", 1.0),
        ("7", 7, 1.0),
        ("7", 7.0, 1.0),
        (r"\boxed{b}", ["a", "b"], 1.0),
        ("c", ["a", "b"], 0.0),
    ],
)
def test_exact_match_is_of_texts_as_they_are_read(completion: str, gold: Any, right: float) -> None:
    assert called(exact_match(), [completion], answer=[gold]) == [right]


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        (r"\boxed{0}", 1.0),
        (r"\boxed{\emptyset}", 1.0),
        (r"\boxed{-}", 1.0),
        (r"\boxed{\text{ }}", 0.0),
        (r"\boxed{~}", 0.0),
        (r"\boxed{\,\quad}", 0.0),
        (r"\boxed{\textbf{\text{}}}", 0.0),
        (r"\boxed{...}", 0.0),
        (r"\boxed{\ldots}", 0.0),
        (r"\boxed{$$}", 0.0),
        (r"\boxed{7} \boxed{}", 0.0),
        (r"\boxed{7", 0.0),
        (r"<think>\boxed{7}</think> so 7", 0.0),
        (r"<think>\boxed{7}", 0.0),
        (r"<think>so</think> \boxed{7}", 1.0),
    ],
)
def test_a_box_without_an_answer_has_no_format(completion: str, right: float) -> None:
    assert called(format_reward(), [completion]) == [right]


FORMS = (
    "\\boxed{%s}",
    "<answer>%s</answer>",
    "<answer>\n%s\n</answer>",
    "The answer is %s",
    "The answer is %s.",
    "Answer: %s",
    "**Final answer:** %s",
    "#### %s",
    "%s",
    "<think>\\boxed{1}?</think>\n<answer>%s</answer>",
)


@pytest.mark.parametrize(
    "name", ["n_queens", "emoji_mystery", "word_sorting", "rotate_matrix", "power_function", "futoshiki"]
)
def test_own_answers_are_right_in_every_form(name: str) -> None:
    """Grids, lists, sentences with a full stop, numbers in exponent form."""
    (row,) = load(f"reasoning-gym:{name}?size=1&seed=3")
    completions = [form % row["answer"] for form in FORMS]
    rewards = called(gym_reward(workers=1), completions, entry=[row["entry"]] * len(FORMS))
    assert dict(zip(FORMS, rewards, strict=True)) == dict.fromkeys(FORMS, 1.0)
    said = f"So it is {row['answer']}"
    if name == "power_function":
        assert called(gym_reward(workers=1), [said], entry=[row["entry"]]) == [1.0]


@pytest.mark.parametrize("name", ["chain_sum", "mini_sudoku", "leg_counting"])
def test_reasoning_gym_scores_by_itself(name: str) -> None:
    rows = load(f"reasoning-gym:{name}?size=3&seed=1")
    reward = gym_reward(workers=1)
    right = [f"<answer>{row['answer']}</answer>" for row in rows]
    entries = rows["entry"][:]
    found = called(reward, right, entry=entries)
    assert found == [1.0] * 3
    assert all(score < 1.0 for score in called(reward, ["<answer>no</answer>"] * 3, entry=entries))


def test_a_scorer_that_runs_answers_as_code_is_refused() -> None:
    row = load("reasoning-gym:countdown?size=1&seed=1")[0]
    with pytest.raises(RewardError, match="'countdown' does not give 1 to its own answer"):
        called(gym_reward(workers=1), [row["answer"]], entry=[row["entry"]])


def test_verl_s_function() -> None:
    counts = {"reward_timeouts": 0.0, "reward_crashes": 0.0}
    right = compute_score("math_dapo", r"\boxed{0.5}", r"\frac{1}{2}")
    assert right == {"score": 1.0, "acc": 1.0} | counts
    wrong = compute_score("x", "Answer: 7", "8", extra_info={"index": "a"}, more=1)
    assert wrong == {"score": 0.0, "acc": 0.0} | counts


def test_what_is_wrong_is_said(verifier: MathVerifier) -> None:
    with pytest.raises(RewardError, match="no column 'answer'; the dataset has gold"):
        math_reward(verifier)(completions=["1"], gold=["1"])
    with pytest.raises(RewardError, match=r"column 'answer'\[0\] is dict; it must be text, a number"):
        exact_match()(completions=["1"], answer=[{"a": 1}])
    with pytest.raises(RewardError, match=r"completions\[0\] is int; it must be text"):
        exact_match()(completions=[[{"role": "assistant", "content": 7}]], answer=["1"])
    with pytest.raises(RewardError, match="holds 'E'; it must hold one of 'ABCD'"):
        multiple_choice()(completions=["1"], answer=["E"])
    with pytest.raises(RewardError, match="not a regular expression"):
        format_reward("(")
    for choices in ("", "AA", "ab"):
        with pytest.raises(RewardError, match="distinct capital letters"):
            multiple_choice(choices=choices)
