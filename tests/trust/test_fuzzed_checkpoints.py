"""Checkpoints from strangers: refused or harmless, never executed, never beyond the file's own size."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
import warnings
import zipfile
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdro
import helpers as h
from gdro import checkpoint
from gdro.integrations.rollout_store import RolloutStore, StoredRollout

DEFAULT = "rollout-gdro + memory"
PASSK = "learning-progress + rollout-gdro + passk-advantages"
# Strategy, and tracker of difficulty.
CASES = (
    *((name, "decayed") for name in ("joint", "memory", "sec", "greso", "rollout-exp3p-True", "mopps")),
    *((name, "decayed") for name in ("reinforce-ada", "adarft", "difficulty-pool", "dapo", "speed")),
    *(("hora", "decayed"), (DEFAULT, "decayed"), (DEFAULT, "windowed"), (PASSK, "unbiased")),
)
SECONDS = 120  # far beyond any refusal, on any machine
JUNK = (
    *(None, [], {}, -1, 2**70, "x", [["a"]], {"a": 1}, [0, 0], [10**9], float("nan"), True),
    *({"plans": -1}, {"plans": "x"}, {"loss": "x"}, 1.5, [None]),
)
EXTREMES = {"f": (np.nan, np.inf, -np.inf, 3e38, -1.0, 1e-40), "i": (127, -128, -1, 0), "u": (255, 0)}


@contextmanager
def without_hanging():
    """An example that takes longer fails, whatever it waits for."""

    def fail(*_):
        raise AssertionError(f"it took more than {SECONDS} seconds")  # what no reader catches

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def new_controller(case):
    name, options = h.VARIANTS.get(case[0], (case[0], {}))
    strategy = gdro.make_strategy(name, **options)
    return gdro.Controller(strategy, h.problem(), difficulty=h.DIFFICULTIES[case[1]])


@cache
def arrays_of(case):
    controller = new_controller(case)
    h.warm(controller, 4)
    controller.plan(h.request())
    header, arrays = controller._snapshot()
    return {
        "header": np.array(json.dumps(header)), **arrays, "key_hash_N": controller.problem.key_hash_N
    }  # fmt: skip


def mutated(arrays, random):
    name = random.choice(sorted(arrays))
    array = arrays[name]
    if name == "header":
        header = json.loads(str(array))
        header[random.choice(sorted(header))] = random.choice(JUNK)
        return arrays | {
            name: np.array(json.dumps(random.choice((header, header, random.choice(JUNK)))))
        }
    how = random.randrange(6)
    if how == 0:
        return {key: value for key, value in arrays.items() if key != name}
    if how == 1:
        kind = random.choice(("f4", "f8", ">f8", "i2", "i8", "u8", "U4", "c16", "?", "V3", "M8[s]"))
        return arrays | {name: np.zeros(array.shape, kind)}
    if how == 2:
        return arrays | {name: random.choice((array.ravel()[: array.size // 2], array[None], array[:0]
                                              if array.ndim else array.ravel()))}  # fmt: skip
    if array.dtype.kind not in EXTREMES:
        return arrays
    found = array.copy()
    value = random.choice(EXTREMES[array.dtype.kind])
    if how == 3 or not array.ndim:
        found[...] = value
    elif array.size:
        found.flat[random.randrange(array.size)] = value
    return arrays | {name: found}


@given(
    case=st.sampled_from(CASES),
    random=st.randoms(use_true_random=False),
    keys=st.sampled_from(["exact", "match"]),
)
def test_mutated_arrays_are_refused_or_harmless(tmp_path_factory, case, random, keys):
    arrays = mutated(arrays_of(case), random)
    if "header" in arrays and random.random() < 0.3:
        name = random.choice(sorted(set(arrays) - {"header"}))
        arrays |= mutated({name: arrays[name]}, random)
    path = tmp_path_factory.mktemp("fuzz") / "state.npz"
    np.savez(path, **arrays)
    controller = new_controller(case)
    before = controller.digest()
    with without_hanging():
        try:
            controller.load(path, keys=keys)
        except gdro.CheckpointError:
            assert controller.digest() == before, "a refused checkpoint leaves nothing behind"
            return
        for ticket in controller.open_tickets:
            controller.abandon(ticket)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for _ in range(2):
                plan = controller.plan(h.request())
                assert plan.rollouts_P.sum() == 64
                assert np.isfinite(h.close(controller, plan)).all()


VOCABULARY, REWARDS = 50, 2


def new_store():
    return RolloutStore(h.problem(), 2**20, VOCABULARY, ["a", "b"])


@pytest.fixture(scope="module")
def arrays_of_a_store(tmp_path_factory):
    store, rng = new_store(), np.random.default_rng(0)
    for prompt in range(0, h.N, 7):
        tokens = rng.integers(0, VOCABULARY, (2, prompt % 5 + 1), np.int32)
        store.put(prompt, StoredRollout(*tokens, rng.random(REWARDS, np.float32)))
    path = tmp_path_factory.mktemp("store") / "store.npz"
    store.save(path)
    with np.load(path) as file:
        return dict(file)


@given(random=st.randoms(use_true_random=False))
def test_mutated_stores_are_refused_or_harmless(tmp_path_factory, arrays_of_a_store, random):
    path = tmp_path_factory.getbasetemp() / "fuzzed-store.npz"
    np.savez(path, **mutated(arrays_of_a_store, random))
    store = new_store()
    kept = StoredRollout(*np.ones((2, 3), np.int32), np.ones(REWARDS, np.float32))
    store.put(5, kept)
    try:
        with without_hanging():
            store.load(path)
    except gdro.CheckpointError:
        assert store[5] is kept and len(store) == 1, "a refused store leaves nothing behind"
        return
    rollouts = [store[prompt] for prompt in range(h.N) if prompt in store]
    assert store.nbytes == sum(rollout.nbytes for rollout in rollouts)
    for rollout in rollouts:
        for ids in (rollout.prompt_ids, rollout.completion_ids):
            assert ids.dtype == np.int32 and ids.ndim == 1 and len(ids)
            assert 0 <= ids.min() <= ids.max() < VOCABULARY
        assert rollout.rewards_K.shape == (REWARDS,)
        assert np.nanmax(np.abs(rollout.rewards_K)) <= 1e18
    store.save(path)  # what was taken over can be written again


def npz(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def npy(shape, dtype="<f8", data=b""):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


HEADER = ("header.npy", npy((), "<U2", "{}".encode("utf-32-le")))
BOMBS = {
    "shape of a petabyte": [HEADER, ("a.npy", npy((2**47,)))],
    "shape that overflows": [HEADER, ("a.npy", npy((2**40, 2**40)))],
    "negative shape": [HEADER, ("a.npy", npy((-1, -1), data=bytes(8)))],
    "no bytes an element": [HEADER, ("a.npy", npy((2**40,), "<U0"))],
    "elements of a gigabyte": [HEADER, ("a.npy", npy((1,), "|V1073741824"))],
    "shape of expressions": [HEADER, ("a.npy", npy("(__import__('os').getpid(),)"))],
    "pickled objects": [HEADER, ("a.npy", npy((1,), "|O", b"\x80\x04K\x01."))],
    "header of many brackets": [
        ("header.npy", npy((), "<U200000", ("[" * 200_000).encode("utf-32-le")))
    ],
    "no array": [HEADER, ("a.npy", b"import os")],
    "another format version": [HEADER, ("a.npy", b"\x93NUMPY\x09\x00" + bytes(64))],
    "twice": [HEADER, HEADER],
    "nothing": [],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("bomb", sorted(BOMBS))
def test_bombs_and_tricks(tmp_path, bomb):
    path = npz(tmp_path / "state.npz", BOMBS[bomb])
    refused_within(path, 4 * path.stat().st_size + 2**21)


@pytest.mark.parametrize("member", ["../gdro-escaped.npy", "{folder}/absolute/gdro-escaped.npy"])
def test_paths_inside_a_file_lead_nowhere(tmp_path, monkeypatch, member):
    """Where a reader that unpacks would write: beside the file's folder, or at the absolute path."""
    inner, absolute = tmp_path / "inner", tmp_path / "absolute"
    inner.mkdir(), absolute.mkdir()
    monkeypatch.chdir(inner)
    name = member.format(folder=tmp_path)
    path = npz(inner / "state.npz", [HEADER, (name, npy((1,), data=bytes(8)))])
    assert list(checkpoint.read(path)[1]) == [name.removesuffix(".npy")], "a name, and no more"
    with pytest.raises(gdro.CheckpointError):
        h.controller().load(path)
    assert not (tmp_path / "gdro-escaped.npy").exists()
    assert not (absolute / "gdro-escaped.npy").exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path], "nothing is unpacked anywhere"


def refused_within(path, most_bytes):
    controller = h.controller()
    tracemalloc.start()
    try:
        with without_hanging(), h.raises(gdro.CheckpointError, "state.npz", "no readable", "earlier"):
            controller.load(path)
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


def test_compressed_zeros(tmp_path):
    bomb = npy((2**24,), data=bytes(2**27))
    path = npz(tmp_path / "state.npz", [HEADER, ("a.npy", bomb)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    refused_within(path, 2**21)


def test_members_that_share_their_bytes(tmp_path):
    """Many directory entries for one stored array: the sum of the claims is what is refused."""
    path = npz(tmp_path / "state.npz", [HEADER, *((f"{i:03}.npy", npy((2**13,), data=bytes(2**16)))
                                                  for i in range(3))])  # fmt: skip
    with zipfile.ZipFile(path) as file:
        first, *rest = file.infolist()[1:]
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    for member in rest:
        entry = data.index(member.filename.encode(), directory) - 46
        data[entry + 42 : entry + 46] = first.header_offset.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    refused_within(path, 2**22)


def test_what_a_pipe_or_a_folder_gives_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "state.npz")
    with without_hanging(), h.raises(gdro.CheckpointError, "no checkpoint at"):
        h.controller().load(tmp_path / "state.npz")


def test_whole_checkpoints_pass_the_same_checks(tmp_path):
    for case in CASES:
        np.savez(tmp_path / "state.npz", **arrays_of(case))
        controller = new_controller(case)
        assert controller.load(tmp_path / "state.npz").same
        assert controller.open_tickets == [4]
    header, arrays = checkpoint.read(tmp_path / "state.npz")
    assert header["next_ticket"] == 5
    assert all(array.flags.writeable for array in arrays.values())
