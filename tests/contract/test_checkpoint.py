"""Checkpoints: refused when foreign or damaged, followed by key into a changed pool."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
import helpers as h
from gdro import Controller, Difficulty, Problem, make_strategy
from helpers import raises


def trained(variant="joint", **options):
    c = h.controller(variant, **options)
    h.warm(c, 4)
    return c


def over(keys, variant="joint", **options):
    name, strategy_options = h.VARIANTS[variant]
    return Controller(make_strategy(name, **strategy_options), Problem(prompt_keys=keys), **options)


@pytest.fixture
def saved(tmp_path):
    c = trained()
    c.plan(h.request())
    c.save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: h.controller("uniform"), ["strategy", "'joint'", "'uniform'", "same strategy"]),
        (lambda: h.controller("joint-exp3p"), ["rollout-gdro.solver", "exp3p"]),
        (lambda: h.controller("joint", seed=1), ["seed 0", "1"]),
        (lambda: h.controller("joint", difficulty=Difficulty(k=4)), ["difficulty.k 8", "4"]),
        (lambda: over(h.KEYS[:-1]), ["60 prompts", "59", "1 are gone", "keys='match'"]),
        (lambda: over(h.KEYS[::-1]), ["60 keys match", "another order", "keys='match'"]),
        (lambda: over([*h.KEYS[1:], "new"]), ["59 keys match", "1 are new", "1 are gone"]),
    ],
)
def test_foreign_checkpoint(saved, other, words):
    c = other()
    before = c.digest()
    with raises(gdro.CheckpointError, *words):
        c.load(saved)
    assert c.digest() == before


def test_pool_without_a_common_key(saved):
    c = over([f"else-{i}" for i in range(h.N)])
    with raises(gdro.CheckpointError, "0 keys match"):
        c.load(saved, keys="match")


def test_state_dict_of_another_pool_is_refused():
    c = over(h.KEYS[::-1])
    with raises(gdro.CheckpointError, "another order", "keys='match'"):
        c.load_state_dict(trained().state_dict())


@pytest.mark.parametrize(
    "state", [{}, {"header": {}}, {"arrays": {}}, {"header": {}, "arrays": []}, {"header": 1}]
)
def test_state_dict_in_part_is_refused(state):
    c = trained()
    before = c.digest()
    with raises(gdro.CheckpointError, "header", "arrays", "state_dict"):
        c.load_state_dict(state)
    assert c.digest() == before


def edit(path, **changes):
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    header |= {k: v for k, v in changes.items() if k in header}
    arrays |= {k: v for k, v in changes.items() if k not in header}
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


def test_another_schema(saved):
    edit(saved, schema=99)
    with raises(gdro.CheckpointError, "schema 99", "1"):
        h.controller("joint").load(saved)


@pytest.mark.parametrize(
    "name",
    ["header", "difficulty/bin_N", "strategy/weigh/score_B", "pending/4/prompt_P"],
)
def test_missing_array(saved, name):
    with np.load(saved) as file:
        arrays = {k: v for k, v in file.items() if k != name}
    np.savez(saved, **arrays)
    c = h.controller("joint")
    before = c.digest()
    with raises(gdro.CheckpointError, name):
        c.load(saved)
    assert c.digest() == before


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("difficulty/bin_N", np.zeros(3, np.int8)),
        ("difficulty/sum_N4", np.zeros((h.N, 4), np.int64)),
        ("strategy/weigh/score_B", np.zeros(3)),
        ("strategy/weigh/updates_B", np.zeros(10)),
    ],
)
def test_array_of_another_shape_or_type(saved, name, array):
    edit(saved, **{name: array})
    with raises(gdro.CheckpointError, name, "shape"):
        h.controller("joint").load(saved)


def test_no_file(tmp_path):
    with raises(gdro.CheckpointError, "no checkpoint at", "nowhere", "Controller.save"):
        h.controller().load(tmp_path / "nowhere")
    with raises(gdro.CheckpointError, "no checkpoint at"):
        h.controller().load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn", pickle.dumps({})])
def test_no_checkpoint_at_all(tmp_path, content):
    (tmp_path / "state.npz").write_bytes(content)
    with raises(gdro.CheckpointError, "state.npz", "not a readable gdro checkpoint", "earlier"):
        h.controller().load(tmp_path / "state.npz")


def test_bare_array_is_refused(tmp_path):
    with (tmp_path / "state.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with raises(gdro.CheckpointError, "not a readable gdro checkpoint"):
        h.controller().load(tmp_path / "state.npz")


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def test_pickles_are_never_opened(saved):
    edit(saved, **{"difficulty/bin_N": np.array([Bomb()], object)})
    with raises(gdro.CheckpointError, "not a readable", "pickle"):
        h.controller("joint").load(saved)
    assert not Bomb.exploded


def test_truncated_anywhere(saved):
    data = saved.read_bytes()
    for cut in np.linspace(1, len(data) - 1, 60).astype(int):
        saved.write_bytes(data[:cut])
        c = h.controller("joint")
        before = c.digest()
        with raises(gdro.CheckpointError, "earlier"):
            c.load(saved)
        assert c.digest() == before


@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bits_are_refused_or_harmless(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("flip") / "state.npz"
    c = trained()
    c.save(path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(bytes(data))
    other = h.controller("joint")
    try:
        other.load(path)
    except gdro.CheckpointError:
        assert other.digest() == h.controller("joint").digest()
    else:
        assert other.digest() == c.digest()


def test_save_replaces_the_file_whole(saved, monkeypatch):
    kept = saved.read_bytes()
    c = trained()

    def full(fd):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with raises(gdro.CheckpointError, "cannot write", "disk full", "intact", "resume"):
        c.save(saved)
    assert saved.read_bytes() == kept
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_match_follows_the_keys(tmp_path):
    old = trained()
    plan = old.plan(h.request())
    old.save(tmp_path / "state.npz")
    rng = np.random.default_rng(0)
    keys = [*rng.permutation(h.KEYS)[:40].tolist(), "new-1", "new-2"]
    keys = rng.permutation(keys).tolist()
    new = over(keys)
    match = new.load(tmp_path / "state.npz", keys="match")
    assert (match.matched, match.added, match.removed, match.same) == (40, 2, 20, False)
    index = {k: i for i, k in enumerate(h.KEYS)}
    for i, key in enumerate(keys):
        here = np.array([i])
        if key not in index:
            assert new.belief.bin_N[i] == gdro.UNSEEN
            assert new.belief.visits_N[i] == 0
            continue
        there = np.array([index[key]])
        assert new.belief.bin_N[i] == old.belief.bin_N[there[0]]
        assert new.belief.visits_N[i] == old.belief.visits_N[there[0]]
        assert new.belief.posterior(here) == old.belief.posterior(there)
    assert (new.belief.bin_N >= 0).any()
    assert new.strategy.metrics(new._state) == old.strategy.metrics(old._state)
    assert new.open_tickets == []
    with raises(gdro.TicketError, "closed"):
        new.observe(h.score(plan).outcome)
    assert new.plan(h.request()).ticket == plan.ticket + 1


def test_match_keeps_the_ledger_whole(tmp_path):
    old = trained()
    old.plan(h.request())
    old.save(tmp_path / "state.npz")
    new = over([*h.KEYS, "new"])
    new.load(tmp_path / "state.npz", keys="match")
    ledger = new.ledger
    assert ledger.plans == ledger.closed + ledger.abandoned
    assert ledger.planned == ledger.rollouts + ledger.missing


def test_match_of_the_same_pool_keeps_plans_in_flight(saved):
    c = h.controller("joint")
    assert c.load(saved, keys="match").same
    assert c.open_tickets == [4]
