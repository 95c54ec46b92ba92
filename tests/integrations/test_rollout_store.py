"""The store of remembered rollouts: bounded, saved whole, keyed by prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro import CheckpointError, Problem
from gdro.integrations.rollout_store import RolloutStore, StoredRollout

KEYS = [f"k{i}" for i in range(6)]


def rollout(length, seed=0):
    rng = np.random.default_rng([seed, length])
    prompt, answer = rng.integers(0, 99, 2, np.int32), rng.integers(0, 99, length, np.int32)
    return StoredRollout(prompt, answer, np.array([1.0, 0.5], np.float32))


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in vars(a))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), max_size=40), st.integers(20, 600))
def test_latest_rollouts_within_the_bytes(puts, limit):
    store, kept = RolloutStore(Problem(KEYS), limit), {}
    for prompt, length in puts:
        store.put(prompt, rollout(length))
        kept.pop(prompt, None)
        kept[prompt] = rollout(length)
        while sum(r.nbytes for r in kept.values()) > limit:
            del kept[next(iter(kept))]
    assert store.nbytes == sum(r.nbytes for r in kept.values()) <= limit
    assert {p for p in range(6) if p in store} == set(kept)
    assert all(same(store[p], r) for p, r in kept.items())


def test_saved_and_loaded_in_the_same_order(tmp_path):
    store = RolloutStore(Problem(KEYS), 10_000)
    for prompt, length in ((3, 5), (0, 2), (5, 9), (3, 4)):
        store.put(prompt, rollout(length))
    store.save(tmp_path / "s.npz")
    again = RolloutStore(Problem(KEYS), 10_000)
    again.put(1, rollout(7))
    again.load(tmp_path / "s.npz")
    assert list(again._rollouts) == list(store._rollouts) == [0, 5, 3]
    assert all(same(again[p], store[p]) for p in (0, 5, 3))
    assert again.nbytes == store.nbytes
    assert 1 not in again


def test_empty_store(tmp_path):
    RolloutStore(Problem(KEYS), 10).save(tmp_path / "s.npz")
    store = RolloutStore(Problem(KEYS), 10)
    store.load(tmp_path / "s.npz")
    assert len(store) == store.nbytes == 0


def test_rollouts_follow_their_keys(tmp_path):
    store = RolloutStore(Problem(KEYS), 10_000)
    store.put(0, rollout(2))
    store.put(4, rollout(6))
    store.save(tmp_path / "s.npz")
    moved = RolloutStore(Problem(["new", "k4", "k3"]), 10_000)
    moved.load(tmp_path / "s.npz")
    assert len(moved) == 1
    assert same(moved[1], rollout(6))


@pytest.mark.parametrize("damage", ["missing", "cut", "lengths", "kind"])
def test_damage_is_found(tmp_path, damage, monkeypatch):
    path = tmp_path / "s.npz"
    store = RolloutStore(Problem(KEYS), 10_000)
    store.put(0, rollout(8))
    if damage == "lengths":
        long = StoredRollout(np.zeros(1, np.int32), np.zeros(3, np.int32), np.ones(1, np.float32))
        write = RolloutStore.save.__globals__["checkpoint"].write
        monkeypatch.setattr(
            "gdro.checkpoint.write",
            lambda p, h, a: write(p, h, a | {"completion_ids": long.completion_ids}),
        )
    if damage == "kind":
        write = RolloutStore.save.__globals__["checkpoint"].write
        monkeypatch.setattr("gdro.checkpoint.write", lambda p, h, a: write(p, {"schema": 9}, a))
    store.save(path)
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    fresh = RolloutStore(Problem(KEYS), 10_000)
    fresh.put(1, rollout(3))
    with pytest.raises(CheckpointError):
        fresh.load(path)
    assert same(fresh[1], rollout(3))
