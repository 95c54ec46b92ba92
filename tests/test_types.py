"""Records refuse what they cannot hold, and say what was got, what is allowed and the fix."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro import Outcome, Request
from helpers import raises


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_prompts": 0, "num_rollouts": 4}, ["num_prompts is 0", "at least 1"]),
        ({"num_prompts": 1, "num_rollouts": -4}, ["num_rollouts is -4", "at least 1"]),
        ({"offered_P": [3, 5, 3]}, ["prompt 3", "more than once", "merge"]),
        ({"offered_P": [3, 5]}, ["2 prompts", "num_prompts is 3", "agree"]),
        ({"offered_P": [0.0, 1.0, 2.0]}, ["offered_P", "integers", "float64", "indices"]),
        ({"offered_P": [[0, 1, 2]]}, ["1-D", r"\(1, 3\)"]),
    ],
)
def test_bad_request(fields, words):
    with raises(gdro.RequestError, *words):
        Request(**({"num_prompts": 3, "num_rollouts": 12} | fields))


def rows(**changes):
    fields = {"prompt_R": [0, 0, 1], "reward_R": [0.0, 1.0, 0.0], "correct_R": [False, True, False]}
    return Outcome(0, **(fields | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward_R": [0.0, 1.0]}, ["reward_R", r"\(2,\)", r"\(3,\)"]),
        ({"correct_R": [True]}, ["correct_R", r"\(1,\)", "one value"]),
        ({"tokens_R": [1, 2]}, ["tokens_R", r"\(2,\)"]),
        ({"valid_R": [True, True]}, ["valid_R", r"\(2,\)"]),
        ({"reward_R": [0.0, np.nan, 0.0]}, [r"reward_R\[1\]", "prompt 0", "nan", "valid_R"]),
        ({"reward_R": [0.0, 0.0, np.inf]}, [r"reward_R\[2\]", "prompt 1", "inf", "finite"]),
        ({"correct_R": [0.0, 0.4, 1.0]}, ["correct_R", "0.4", "boolean", "threshold"]),
        ({"correct_R": [0.0, np.nan, 1.0]}, ["correct_R", "nan", "boolean"]),
        ({"valid_R": [0, 1, 2]}, ["valid_R", "2", "boolean"]),
        ({"prompt_R": [0.0, 0.0, 1.0]}, ["prompt_R", "integers", "float64"]),
        ({"tokens_R": [1.5, 2.0, 2.0]}, ["tokens_R", "integers"]),
    ],
)
def test_bad_outcome(changes, words):
    with raises(gdro.OutcomeError, *words):
        rows(**changes)
