"""A pool of prompts refuses keys and priors that it cannot hold."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro import Problem
from helpers import raises


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt_keys": []}, ["empty", "at least one"]),
        ({"prompt_keys": ["a", "b", "a"]}, ["'a'", "more than once", "drop duplicate"]),
        ({"prompt_keys": ["a", None]}, [r"prompt_keys\[1\]", "None", "string", "fill"]),
        ({"prompt_keys": ["a", ""]}, [r"prompt_keys\[1\]", "non-empty"]),
        ({"prompt_keys": [1, 2]}, [r"prompt_keys\[0\] is 1", "str"]),
        ({"prior_N": [0.5]}, [r"\(1,\)", r"\(2,\)"]),
        ({"prior_N": [0.5, 8.0]}, [r"\[0, 1\]", "rates, not counts"]),
        ({"prior_N": [0.5, np.inf]}, [r"\[0, 1\]"]),
    ],
)
def test_bad_pool(fields, words):
    with raises(gdro.ProblemError, *words):
        Problem(**({"prompt_keys": ["a", "b"]} | fields))
