"""States to arrays and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import helpers as h
from gdro.checkpoint.codec import decode, encode
from gdro.errors import CheckpointError
from gdro.strategy import NoState
from helpers import raises


@dataclass(frozen=True)
class Inner:
    score_B: np.ndarray
    count: int


@dataclass(frozen=True)
class Outer:
    seen_N: np.ndarray
    rate: float
    flag: bool
    inner: Inner
    none: NoState


def outer(num=3, fill=0.0):
    inner = Inner(np.full(4, fill), int(fill))
    return Outer(np.full(num, fill, np.float32), fill, bool(fill), inner, NoState())


def test_names_and_values():
    arrays = encode(outer(fill=2.0), "s")
    assert list(arrays) == ["s/seen_N", "s/rate", "s/flag", "s/inner/score_B", "s/inner/count"]
    assert arrays["s/seen_N"].dtype == np.float32


def test_round_trip_keeps_types():
    state = Outer(np.array([1, 2, 3], np.float32), 0.1, True, Inner(np.arange(4.0), 7), NoState())
    back = decode(outer(), encode(state, "s"), "s")
    assert type(back) is Outer
    assert type(back.inner) is Inner
    assert (back.rate, back.flag, back.inner.count, back.none) == (0.1, True, 7, NoState())
    assert (type(back.rate), type(back.flag), type(back.inner.count)) == (float, bool, int)
    assert np.array_equal(back.seen_N, state.seen_N)
    assert back.seen_N.dtype == np.float32
    assert np.array_equal(back.inner.score_B, state.inner.score_B)


def test_encoded_arrays_are_copies():
    state = outer(fill=1.0)
    arrays = encode(state, "s")
    arrays["s/inner/score_B"][:] = 9.0
    assert state.inner.score_B.tolist() == [1.0] * 4
    back = decode(outer(), arrays, "s")
    arrays["s/inner/score_B"][:] = 5.0
    assert back.inner.score_B.tolist() == [9.0] * 4


def test_remap_touches_arrays_by_prompt_alone():
    seen = []

    def remap(saved, fresh):
        seen.append(saved.shape)
        return np.concatenate([saved, fresh])[: len(fresh)]

    arrays = encode(outer(num=2, fill=1.0), "s")
    back = decode(outer(num=3), arrays, "s", remap)
    assert back.seen_N.tolist() == [1.0, 1.0, 0.0]
    assert seen == [(2,)]


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("s/rate", None, ["lacks 's/rate'", "another version"]),
        ("s/inner/count", None, ["lacks 's/inner/count'"]),
        ("s/seen_N", np.zeros(5), ["s/seen_N", r"\(5,\)", r"\(3,\)"]),
        ("s/inner/score_B", np.zeros(4, np.int64), ["s/inner/score_B", "int64", "float64"]),
    ],
)
def test_bad_arrays(name, array, words):
    arrays = encode(outer(), "s")
    arrays.pop(name)
    if array is not None:
        arrays[name] = array
    with raises(CheckpointError, *words):
        decode(outer(), arrays, "s")


@pytest.mark.parametrize("variant", sorted(h.VARIANTS))
def test_every_state_of_every_strategy(variant):
    c = h.controller(variant)
    h.warm(c, 3)
    arrays = encode(c._state, "s")
    back = encode(decode(c.strategy.init(h.N, 10), arrays, "s"), "s")
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[k], v) for k, v in arrays.items())
    assert all(back[k].dtype == v.dtype for k, v in arrays.items())
