"""The digest that follows a run: that of the whole state, and another after any change of it."""

from __future__ import annotations

import numpy as np
import pytest

import helpers as h
from gdro import Controller, StrategyError, make_strategy
from gdro.checkpoint.codec import leaves
from gdro.numerics.persistent import PersistentArray
from helpers import raises

VARIANTS = ("rollout-gdro + memory", "greso", "mopps", "difficulty-pool", "joint", "uniform")


@pytest.mark.parametrize("difficulty", sorted(h.DIFFICULTIES))
@pytest.mark.parametrize("text", VARIANTS)
def test_one_that_followed_is_one_from_scratch(text, difficulty, tmp_path):
    def make():
        return Controller(make_strategy(text), h.problem(), difficulty=h.DIFFICULTIES[difficulty])

    followed, late = make(), make()
    followed.digest()
    for _ in range(8):
        for c in (followed, late):
            h.close(c, c.plan(h.request()))
        followed.digest()
    assert followed.digest() == late.digest()  # the late one reads the whole state here
    followed.save(tmp_path / "state.npz")  # compares its hashes with the state
    fresh = make()
    fresh.load(tmp_path / "state.npz")
    assert fresh.digest() == followed.digest()


@pytest.mark.parametrize("text", VARIANTS)
def test_every_array_counts(text):
    c = Controller(make_strategy(text), h.problem())
    h.warm(c, 3)
    state = c.state_dict()
    digests = {c.digest()}
    for name, array in state["arrays"].items():
        if name.startswith(("difficulty/", "strategy/")) and array.size:
            changed = array.copy()
            changed.flat[-1] = changed.flat[-1] + 1 if name != "difficulty/bin_N" else 0
            if name.endswith("pool_N"):
                changed.flat[-1] = (array.flat[-1] + 1) % 3
            other = Controller(make_strategy(text), h.problem())
            other.load_state_dict({**state, "arrays": {**state["arrays"], name: changed}})
            if not np.array_equal(changed, array):
                digests.add(other.digest())
                assert len(digests) > 1, name
                digests = {c.digest()}


@pytest.mark.parametrize("where", ["beliefs", "strategy"])
def test_a_state_that_was_changed_in_place_is_not_saved(tmp_path, where):
    c = Controller(make_strategy("memory"), h.problem())
    h.warm(c, 2)
    c.digest()
    if where == "beliefs":
        c._tracker.visits_N[3] += 1
    else:
        next(
            leaf for _, leaf in leaves(c._state, "s") if isinstance(leaf, PersistentArray)
        )._store.array[3] += 1
    with raises(StrategyError, "changed in place", "put", "earlier checkpoint"):
        c.save(tmp_path / "state.npz")
    assert not (tmp_path / "state.npz").exists()
