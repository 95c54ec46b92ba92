"""The store of remembered rollouts: bounded, saved whole, keyed by prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro import CheckpointError, Problem
from gdro.checkpoint import archive
from gdro.memory.store import RolloutStore, StoredRollout

KEYS = [f"k{i}" for i in range(6)]


def new_store(max_bytes=10_000, keys=KEYS, rewards=("a", "b")):
    return RolloutStore(Problem(keys), max_bytes, 99, rewards)


def rollout(length, seed=0):
    rng = np.random.default_rng([seed, length])
    prompt, answer = rng.integers(0, 99, 2, np.int32), rng.integers(0, 99, length, np.int32)
    return StoredRollout(prompt, answer, np.array([1.0, 0.5], np.float32))


def put_slots(*slots):
    return lambda a: np.array(slots, a.dtype)


def same(a, b):
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in vars(a))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), max_size=40), st.integers(20, 600))
def test_latest_rollouts_within_the_bytes(puts, limit):
    store, kept = new_store(limit), {}
    for prompt, length in puts:
        store.put(prompt, rollout(length))
        kept.pop(prompt, None)
        kept[prompt] = rollout(length)
        while sum(r.nbytes for r in kept.values()) > limit:
            del kept[next(iter(kept))]
    assert store.nbytes == sum(r.nbytes for r in kept.values()) <= limit
    assert {p for p in range(6) if p in store} == set(kept)
    assert all(same(store[p], r) for p, r in kept.items())


def in_group(length, advantage):
    logps = np.linspace(-2, -1, length).astype(np.float32)
    return replace(rollout(length), advantage=advantage, logps=logps)


def test_groups_are_stored_saved_and_dropped_whole(tmp_path):
    store = new_store(1000)
    store.put(3, in_group(4, -0.5), in_group(2, 1.5))
    store.put(0, in_group(3, 0.7))
    assert (len(store), len(store.rollouts[3])) == (3, 2)
    assert store[3].nbytes == rollout(4).nbytes + 16
    store.save(tmp_path / "s.npz")
    again = new_store()
    again.load(tmp_path / "s.npz")
    assert list(again.rollouts) == [3, 0] and again.nbytes == store.nbytes
    for prompt in (3, 0):
        for a, b in zip(again.rollouts[prompt], store.rollouts[prompt], strict=True):
            assert same(a, b) and a.logps.base is None
    again.save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "s.npz").read_bytes()
    store.put(3)
    assert list(store.rollouts) == [0] and store.nbytes == store[0].nbytes
    store.put(1, *(in_group(80, 1.0) for _ in range(2)))  # 2 x 656 bytes
    assert not len(store) and not store.nbytes


GROUPS = {
    "a slot twice": {"slot_M": put_slots(0, 0, 0)},
    "a slot left out": {"slot_M": put_slots(0, 2, 0)},
    "a negative slot": {"slot_M": put_slots(0, -1, 0)},
    "a group that goes on": {"slot_M": put_slots(0, 1, 2)},
    "slots of floats": {"slot_M": lambda a: a.astype(float)},
    "a group in two parts": {"key_hash_M": lambda a: a[[0, 2, 1]], "slot_M": put_slots(0, 0, 1)},
    "no finite advantage": {"advantage_M": lambda a: a * np.nan},
    "too few advantages": {"advantage_M": lambda a: a[:-1]},
    "advantages of text": {"advantage_M": lambda a: a.astype("U4")},
    "too few log-probabilities": {"logps": lambda a: a[:-1]},
    "no finite log-probability": {"logps": lambda a: a / 0.0},
    "log-probabilities of doubles": {"logps": lambda a: a.astype(float)},
}


@pytest.mark.parametrize("case", GROUPS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_groups_that_no_run_stores_are_refused(tmp_path, case):
    store = new_store()
    store.put(3, in_group(4, -0.5), in_group(2, 1.5))
    store.put(0, in_group(3, 0.7))
    store.save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        given = dict(file)
    np.savez(tmp_path / "s.npz", **given | {n: change(given[n]) for n, change in GROUPS[case].items()})
    with pytest.raises(CheckpointError, match=r"damaged|never writes"):
        new_store().load(tmp_path / "s.npz")


def test_saved_and_loaded_in_the_same_order(tmp_path):
    store = new_store()
    for prompt, length in ((3, 5), (0, 2), (5, 9), (3, 4)):
        store.put(prompt, rollout(length))
    store.save(tmp_path / "s.npz")
    again = new_store()
    again.put(1, rollout(7))
    again.load(tmp_path / "s.npz")
    assert list(again._rollouts) == list(store._rollouts) == [0, 5, 3]
    assert all(same(again[p], store[p]) for p in (0, 5, 3))
    assert again.nbytes == store.nbytes
    assert 1 not in again


def test_steps_are_saved_bit_for_bit(tmp_path):
    store = new_store()
    for step, prompt in enumerate([3, 0, 5], start=7):
        store.put(prompt, replace(rollout(4), step=step))
    store.save(tmp_path / "s.npz")
    again = new_store()
    again.load(tmp_path / "s.npz")
    assert [again[p].step for p in (3, 0, 5)] == [7, 8, 9]
    again.save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "s.npz").read_bytes()


@pytest.mark.parametrize(
    "change", [lambda a: a - 9, lambda a: a + 2**60, lambda a: a[:1], lambda a: a.astype(float)]
)
def test_steps_that_no_training_has_are_refused(tmp_path, change):
    store = new_store()
    store.put(0, replace(rollout(3), step=4))
    store.put(1, replace(rollout(3), step=5))
    store.save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "s.npz", **{**arrays, "step_M": change(arrays["step_M"])})
    with pytest.raises(CheckpointError, match="damaged"):
        new_store().load(tmp_path / "s.npz")


def test_rollouts_of_early_steps_expire():
    store = new_store()
    for step, prompt in enumerate([3, 0, 3, 5], start=10):
        store.put(prompt, replace(rollout(4), step=step))
    store.expire(12)
    assert list(store._rollouts) == [3, 5], "prompt 3 was stored again in step 12"
    assert store.nbytes == store[3].nbytes + store[5].nbytes
    store.put(1, replace(rollout(4), step=11))  # of older weights than those before it
    store.expire(12)
    assert list(store._rollouts) == [3, 5]
    store.expire(99)
    assert len(store) == store.nbytes == 0


def test_empty_store(tmp_path):
    new_store(10).save(tmp_path / "s.npz")
    store = new_store(10)
    store.load(tmp_path / "s.npz")
    assert len(store) == store.nbytes == 0


def test_rollouts_follow_their_keys(tmp_path):
    store = new_store()
    store.put(0, rollout(2))
    store.put(4, rollout(6))
    store.save(tmp_path / "s.npz")
    moved = new_store(keys=["new", "k4", "k3"])
    moved.load(tmp_path / "s.npz")
    assert len(moved) == 1
    assert same(moved[1], rollout(6))


def test_masks_are_saved_and_loaded(tmp_path):
    store = new_store()
    store.put(2, rollout(3))
    masked = np.array([True, False, False, True, True])
    store.put(0, replace(rollout(5), loss_mask=masked))
    assert store[0].nbytes == rollout(5).nbytes + 5
    store.save(tmp_path / "s.npz")
    again = new_store()
    again.load(tmp_path / "s.npz")
    assert again[0].loss_mask.tolist() == masked.tolist() and again[0].own.sum() == 3
    assert again[2].loss_mask is None and again[2].own.tolist() == [True] * 3
    assert again.nbytes == store.nbytes
    assert again[0].loss_mask.base is None, "a view would keep the masks of the whole file"


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """Before tools a store had no masks: the model wrote every token."""
    store = new_store()
    store.put(3, rollout(4))
    store.put(1, rollout(2))
    store.save(tmp_path / "s.npz")
    header, arrays = archive.read(tmp_path / "s.npz")
    assert header["schema"] == 2 and arrays.pop("loss_mask").all()
    archive.write(tmp_path / "old.npz", {**header, "schema": 1}, arrays)
    again = new_store()
    again.load(tmp_path / "old.npz")
    assert list(again._rollouts) == [3, 1]
    assert all(same(again[p], store[p]) for p in (1, 3))
    archive.write(tmp_path / "later.npz", {**header, "schema": 3}, arrays)
    with pytest.raises(CheckpointError, match="not a rollout store of this version"):
        again.load(tmp_path / "later.npz")


@pytest.mark.parametrize("damage", ["missing", "cut", "lengths", "kind"])
def test_damage_is_found(tmp_path, damage, monkeypatch):
    path = tmp_path / "s.npz"
    store = new_store()
    store.put(0, rollout(8))
    if damage == "lengths":
        long = StoredRollout(np.zeros(1, np.int32), np.zeros(3, np.int32), np.ones(1, np.float32))
        write = RolloutStore.save.__globals__["archive"].write
        monkeypatch.setattr(
            "gdro.checkpoint.archive.write",
            lambda p, h, a: write(p, h, a | {"completion_ids": long.completion_ids}),
        )
    if damage == "kind":
        write = RolloutStore.save.__globals__["archive"].write
        monkeypatch.setattr("gdro.checkpoint.archive.write", lambda p, h, a: write(p, {"schema": 9}, a))
    store.save(path)
    if damage == "missing":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    fresh = new_store()
    fresh.put(1, rollout(3))
    with pytest.raises(CheckpointError):
        fresh.load(path)
    assert same(fresh[1], rollout(3))


def edited(path, **arrays):
    """A store of two rollouts, with some arrays of its file replaced."""
    store = new_store()
    store.put(0, rollout(3))
    store.put(4, rollout(2))
    store.save(path)
    with np.load(path) as file:
        given = dict(file)
    found = given | {name: change(given[name]) for name, change in arrays.items()}
    np.savez(path, **{name: array for name, array in found.items() if array is not None})


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


STRANGE = {
    "negative token": {"completion_ids": put(1, -1)},
    "token beyond the vocabulary": {"prompt_ids": put(2, 99)},
    "largest token": {"completion_ids": put(0, 2**31 - 1)},
    "tokens of floats": {"completion_ids": lambda a: a.astype(float)},
    "tokens of 64 bits": {"completion_ids": lambda a: a.astype(np.int64)},
    "tokens of text": {"prompt_ids": lambda a: a.astype("U4")},
    "tokens in two axes": {"prompt_ids": lambda a: a[:, None]},
    "one token": {"completion_ids": lambda a: a[0]},
    "no reward": {"rewards_MK": put(0, np.nan)},
    "infinite reward": {"rewards_MK": put((1, 0), np.inf)},
    "huge reward": {"rewards_MK": put((1, 1), -1e30)},
    "rewards of text": {"rewards_MK": lambda a: a.astype("U4")},
    "rewards of doubles": {"rewards_MK": lambda a: a.astype(float)},
    "K of none": {"rewards_MK": lambda a: a[:, :0]},
    "rewards in one axis": {"rewards_MK": lambda a: a[:, 0]},
    "too few rewards": {"rewards_MK": lambda a: a[:1]},
    "keys of text": {"key_hash_M": lambda a: a.astype("U20")},
    "keys in two axes": {"key_hash_M": lambda a: a[:, None]},
    "keys of signed numbers": {"key_hash_M": lambda a: a.astype(np.int64)},
    "no keys": {"key_hash_M": lambda a: None},
    "a key twice": {"key_hash_M": lambda a: a[[0, 0]]},
    "an empty answer": {"completion_length_M": lambda a: np.array([0, a.sum()])},
    "a negative length": {"completion_length_M": lambda a: np.array([-1, a.sum() + 1])},
    "lengths that overflow": {"prompt_length_M": lambda a: np.array([2**63 - 1, 2**63 - 1])},
    "lengths of floats": {"prompt_length_M": lambda a: a.astype(float)},
    "no mask": {"loss_mask": lambda a: None},
    "a mask of numbers": {"loss_mask": lambda a: a.astype(np.int32)},
    "a mask in two axes": {"loss_mask": lambda a: a[:, None]},
    "a mask that is too short": {"loss_mask": lambda a: a[:-1]},
    "no token of the model": {"loss_mask": put(slice(0, 3), False)},
    "lengths of text": {"prompt_length_M": lambda a: a.astype("U4")},
    "lengths in two axes": {"prompt_length_M": lambda a: a[:, None]},
    "one length": {"prompt_length_M": lambda a: a[0]},
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_no_run_stores_is_refused(tmp_path, case):
    edited(tmp_path / "s.npz", **STRANGE[case])
    store = new_store()
    store.put(1, rollout(3))
    with pytest.raises(CheckpointError, match=r"damaged: .* go back|lacks|never writes.*go back"):
        store.load(tmp_path / "s.npz")
    assert list(store._rollouts) == [1]
    assert same(store[1], rollout(3))


def test_a_reward_function_that_gave_none_is_no_damage(tmp_path):
    edited(tmp_path / "s.npz", rewards_MK=put((0, 1), np.nan))
    store = new_store()
    store.load(tmp_path / "s.npz")
    assert np.isnan(store[0].rewards_K).tolist() == [False, True]
    assert store[0].prompt_ids.base is None, "a view would keep the tokens of the whole file"


@pytest.mark.parametrize(
    ("saved", "own", "kept"),
    [
        (["a", "b"], ["a", "c"], None),
        (["a", "a"], ["a"], None),
        (["a", "b"], ["b", "a"], [1, 0]),
        (["a", "b"], ["b"], [1]),
    ],
)
def test_rewards_follow_the_names_of_their_functions(tmp_path, saved, own, kept):
    path = tmp_path / "s.npz"
    store = new_store(rewards=saved)
    store.put(1, rollout(3))
    store.save(path)
    again = new_store(rewards=own)
    if kept is None:
        with pytest.warns(UserWarning, match="they cannot be scored, so the memory starts empty"):
            again.load(path)
        assert not len(again)
        return
    again.load(path)
    assert again[1].rewards_K.tolist() == rollout(3).rewards_K[kept].tolist()


@pytest.mark.parametrize("names", ["ab", ["a", 1], ["a", "b", "c"]])
def test_names_that_do_not_fit_are_damage(tmp_path, names):
    path = tmp_path / "s.npz"
    store = new_store()
    store.put(1, rollout(3))
    store.save(path)
    header, arrays = archive.read(path)
    archive.write(path, {**header, "rewards": names}, arrays)
    with pytest.raises(CheckpointError, match=r"damaged: .* named"):
        store.read(path)
