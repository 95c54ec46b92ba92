"""The shipped tasks: right answers, texts that fit, teachers who are right when their facts are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gdro.errors import StudyError
from gdro.study.grading import Grader
from gdro.study.testbed import END, Item, Testbed, load_testbed
from gdro.study.testbeds.chains import Chains

SHIPPED = ("chains", "arithmetic", "strings")


def perfect(testbed: Testbed):
    """The facts of a teacher who is always right."""
    facts = testbed.facts(np.random.default_rng(0))
    return {k: (v[0], [1.0, 0.0, 0.0, 0.0]) if isinstance(v, tuple) else 1.0 for k, v in facts.items()}


@pytest.mark.parametrize("task", SHIPPED)
def test_a_perfect_teacher_gives_the_right_answers(task: str) -> None:
    testbed, rng = load_testbed(task), np.random.default_rng(1)
    facts = perfect(testbed)
    for _ in range(300):
        item = testbed.draw(rng)
        assert testbed.worked(item, facts, rng) == item.answer


@pytest.mark.parametrize("task", SHIPPED)
def test_a_real_teacher_errs_and_stays_in_the_vocabulary(task: str) -> None:
    testbed, rng = load_testbed(task), np.random.default_rng(2)
    facts = testbed.facts(rng)
    items = [testbed.draw(rng) for _ in range(300)]
    said = [testbed.worked(item, facts, rng) for item in items]
    wrong = np.mean([a != item.answer for a, item in zip(said, items, strict=True)])
    assert 0.2 < wrong < 0.95
    ids = testbed.encode(said, testbed.answer_tokens + 1, left=False)
    assert ((ids == END).sum(1) == 1).all()
    testbed.encode([i.prompt for i in items], testbed.prompt_tokens, left=True)


@pytest.mark.parametrize("task", SHIPPED)
def test_problems_are_distinct_and_seeded(task: str) -> None:
    testbed = load_testbed(task)
    first = testbed.problems(np.random.default_rng(3), 500)
    assert len({item.prompt for item in first}) == 500
    assert first == testbed.problems(np.random.default_rng(3), 500)


def test_arithmetic_by_hand() -> None:
    testbed = load_testbed("arithmetic")
    rng = np.random.default_rng(4)
    for _ in range(200):
        item = testbed.draw(rng)
        if item.prompt[0] == "a":
            x, y = (int(part[::-1]) for part in item.prompt[1:].split("+"))
            assert int(item.answer[::-1]) == x + y
        else:
            assert item.answer == "".join(sorted(item.prompt[1:]))


class Few(Chains):
    """A task of two problems."""

    def draw(self, rng):
        return Item(str(rng.integers(0, 2)), "1", 0.0)


def test_bad_testbeds_are_refused() -> None:
    for task, words in (
        ("nothing", "shipped"),
        ("no.such:Thing", "imported"),
        ("json:dumps", "derives"),
    ):
        with pytest.raises(StudyError, match=words):
            load_testbed(task)
    with pytest.raises(StudyError, match="room"):
        load_testbed("chains").encode(["1" * 30], 6, left=False)
    with pytest.raises(StudyError, match="tokens"):
        load_testbed("chains").encode(["?"], 6, left=False)
    with pytest.raises(StudyError, match="distinct"):
        Few().problems(np.random.default_rng(0), 3)


@pytest.mark.parametrize("task", SHIPPED)
def test_the_final_answer_of_right_work_is_right_and_others_seldom_are(task: str) -> None:
    """Work that ends like the right one is right, whatever stands before; without an end none is."""
    testbed = load_testbed(task)
    items = testbed.problems(np.random.default_rng(3), 200)
    answer = torch.from_numpy(
        testbed.encode([i.answer for i in items], testbed.answer_tokens + 1, left=False)
    )
    grader = Grader(testbed.final_tokens)
    assert grader.right(answer, answer).all()
    others = answer.roll(1, 0)
    ends = [i.answer[-testbed.final_tokens :] for i in items]
    same = [a == b for a, b in zip(ends, [ends[-1], *ends[:-1]], strict=True)]
    assert grader.right(others, answer).tolist() == same
    assert not grader.right(answer.masked_fill(answer == END, 5), answer).any()
    assert not grader.right(answer, torch.full_like(answer, -1)).any()
