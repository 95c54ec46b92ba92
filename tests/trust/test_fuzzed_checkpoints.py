"""Checkpoints from strangers: refused or harmless, never executed, never beyond the file's own size."""

from __future__ import annotations

import io
import json
import os
import signal
import tracemalloc
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdro
import helpers as h
from gdro.checkpoint import archive
from gdro.memory.store import RolloutStore, StoredRollout

DEFAULT = "rollout-gdro + memory"
PASSK = "sec + rollout-gdro + passk-advantages"
# Strategy, and tracker of difficulty.
CASES = (
    *((name, "decayed") for name in ("joint", "memory", "sec", "greso", "rollout-exp3p-True", "mopps")),
    *((name, "decayed") for name in ("reinforce-ada", "adarft", "difficulty-pool", "dapo", "speed")),
    *(("hora", "decayed"), (DEFAULT, "decayed"), (DEFAULT, "windowed"), (PASSK, "unbiased")),
    *(("rollout-gdro", "predicted"), ("joint", "predicted")),
)
SECONDS = 120  # far beyond any refusal, on any machine
JUNK = (
    *(None, [], {}, -1, 2**70, "x", [["a"]], {"a": 1}, [0, 0], [10**9], float("nan"), True),
    *({"plans": -1}, {"plans": "x"}, {"loss": "x"}, 1.5, [None]),
    *(10**400, {"plans": 10**400}, {"tokens": 2**63}, {"loss": 10**400}, {"": 1}),
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
        "header": np.array(json.dumps(header)),
        **arrays,
        "key_hash_N": controller.problem.key_hash_N,
    }


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
    if how == 3 and random.random() < 0.5:  # finite, until they are narrowed
        wide = (np.longdouble("1e4000"), np.float64(1e300), np.int64(2**40), np.uint64(2**63))
        return arrays | {name: np.full(array.shape, random.choice(wide))}
    if how == 2:
        return arrays | {
            name: random.choice(
                (
                    array.ravel()[: array.size // 2],
                    array[None],
                    array[:0] if array.ndim else array.ravel(),
                )
            )
        }
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
        # What was taken over can be written again, and is taken over again.
        controller.save(path)
        again = new_controller(case)
        again.load(path)
        assert again.digest() == controller.digest()


NEAR = (2**53 - 2, 2**53 - 1, 2**53, 2**62 - 1, 2**62, 2**63 - 1, -(2**53) + 1, -(2**62))
COUNTS = [
    ("header", "next_ticket"),
    *[("ledger", name) for name in ("plans", "closed", "planned", "missing", "tokens", "abandoned")],
    *[("pending/4/", name) for name in ("rollouts_P", "first_P", "counts", "prompt_P", "bin_P")],
    ("difficulty/", "visits_N"),
    ("strategy/remember/", "steps"),
    ("strategy/remember/", "misses_N"),
    ("strategy/remember/", "at_N"),
]


def with_count(state, place, name, value):
    """A state with a count near the end of its range; None if the type cannot hold it."""
    header = json.loads(json.dumps(state["header"]))
    if place in ("header", "ledger"):
        (header if place == "header" else header["ledger"])[name] = value
        return {"header": header, "arrays": state["arrays"]}
    array = state["arrays"][place + name].copy()
    info = np.iinfo(array.dtype)
    array[...] = min(max(value, int(info.min)), int(info.max))
    return {"header": header, "arrays": {**state["arrays"], place + name: array}}


@pytest.mark.parametrize("value", NEAR)
@pytest.mark.parametrize(("place", "name"), COUNTS)
def test_a_count_that_is_loaded_can_be_counted_on_and_saved(tmp_path, place, name, value):
    case = (DEFAULT, "decayed")
    controller = new_controller(case)
    h.warm(controller, 4)
    controller.plan(h.request())
    state, path = with_count(controller.state_dict(), place, name, value), tmp_path / "state.npz"
    controller = new_controller(case)
    try:
        controller.load_state_dict(state)
    except gdro.CheckpointError as problem:
        assert name in str(problem)
        return
    for ticket in controller.open_tickets:
        controller.abandon(ticket)
    for _ in range(3):
        try:
            plan = controller.plan(h.request())
        except gdro.TicketError as problem:
            assert name == "next_ticket" and "no more" in str(problem)
            break
        assert np.isfinite(h.close(controller, plan)).all()
    controller.save(path)
    again = new_controller(case)
    again.load(path)
    assert again.digest() == controller.digest()


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "state.npz"
    np.savez(path, **arrays_of(CASES[0]))
    return path.read_bytes()


@given(random=st.randoms(use_true_random=False))
def test_mutated_bytes_are_refused_or_harmless(tmp_path_factory, whole_file, random):
    """Bytes of the archive, its directory and the arrays' headers; zipfile's sums are made to fit."""
    path = tmp_path_factory.getbasetemp() / "fuzzed-bytes.npz"
    if random.random() < 0.4:
        data = bytearray(whole_file)
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(bytes(data))
    else:
        with zipfile.ZipFile(io.BytesIO(whole_file)) as file:
            members = [(info.filename, bytearray(file.read(info))) for info in file.infolist()]
        _, data = random.choice(members)
        end = 10 + int.from_bytes(data[8:10], "little")
        texts = (
            b"(",
            b"[" * 20_000,
            b"9" * 40,
            b"'descr'",
            b"True",
            b"|O",
            b"<f16",
            b"\x00",
            b"-",
            b"{}",
        )
        start = random.randrange(6, end)
        data[start : start + random.randrange(6)] = random.choice(texts)
        path = npz(path, [(name, bytes(data)) for name, data in members])
    controller = new_controller(CASES[0])
    before = controller.digest()
    with without_hanging(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            controller.load(path)
        except gdro.CheckpointError:
            assert controller.digest() == before


@pytest.mark.parametrize("wide", ["1e4000", "-1e400"])
def test_numbers_that_fit_no_float_are_damage(tmp_path, wide):
    controller = h.controller("joint")
    state = controller.state_dict()
    for name, array in state["arrays"].items():
        if array.dtype.kind == "f" and array.size:
            changed = {**state["arrays"], name: np.full(array.shape, np.longdouble(wide))}
            np.savez(tmp_path / "state.npz", header=np.array(json.dumps(state["header"])), **changed)
            with pytest.raises(gdro.CheckpointError):
                controller.load(tmp_path / "state.npz")
            with pytest.raises(gdro.CheckpointError):
                controller.load_state_dict({**state, "arrays": changed})
    assert np.isfinite(h.close(controller, controller.plan(h.request()))).all()


@pytest.mark.parametrize("count", [10**400, 2**62, -(2**62), 1.0, True])
def test_a_ledger_counts_what_can_be_counted(count):
    controller = h.controller()
    state = controller.state_dict()
    state["header"]["ledger"]["tokens"] = count
    with pytest.raises(gdro.CheckpointError, match="ledger has tokens"):
        controller.load_state_dict(state)


HEAVY = {
    "keys": lambda header, size: (header, {"key_hash_N": np.arange(size // 8, dtype=np.uint64)}),
    "an array": lambda header, size: (header, {"x": np.zeros(size // 8)}),
    "lists": lambda _, size: ('{"a":[' + ",".join(["[]"] * (size // 12)) + "]}", {}),
    "mappings": lambda _, size: ('{"a":[' + ",".join(["{}"] * (size // 12)) + "]}", {}),
    "names": lambda _, size: ("{" + ",".join(f'"{i:x}":0' for i in range(size // 36)) + "}", {}),
    "a text": lambda header, size: (header[:-1] + f', "x": "{"x" * (size // 4)}"}}', {}),
    "wide letters": lambda header, size: (header[:-1] + f', "x": "{chr(0x1F600) * (size // 4)}"}}', {}),
    "numbers": lambda header, size: (header[:-1] + ', "x": [' + "1.5," * (size // 16) + "1]}", {}),
    "a wide element": lambda header, size: (header, {"x": np.array("x" * (size // 4))}),
    "many arrays": lambda header, size: (header, {str(i): np.zeros(()) for i in range(size // 240)}),
}


@pytest.mark.parametrize("keys", ["exact", "match"])
@pytest.mark.parametrize("heavy", sorted(HEAVY))
def test_a_file_takes_at_most_four_times_its_bytes(tmp_path, heavy, keys):
    controller = h.controller("joint")
    state = controller.state_dict()
    header, arrays = HEAVY[heavy](
        json.dumps(state["header"]), 2**18 if heavy == "many arrays" else 2**22
    )
    np.savez(tmp_path / "state.npz", header=np.array(header), **(state["arrays"] | arrays))
    size = (tmp_path / "state.npz").stat().st_size
    tracemalloc.start()
    try:
        controller.load(tmp_path / "state.npz", keys=keys)
    except gdro.CheckpointError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * size + 2**21, f"{peak / size:.2f} times"


VOCABULARY, REWARDS = 50, 2


def new_store():
    return RolloutStore(h.problem(), 2**20, VOCABULARY, ["a", "b"])


@pytest.fixture(scope="module")
def arrays_of_a_store(tmp_path_factory):
    store, rng = new_store(), np.random.default_rng(0)
    for prompt in range(0, h.N, 7):
        tokens = rng.integers(0, VOCABULARY, (2, prompt % 5 + 1), np.int32)
        plain = StoredRollout(*tokens, rng.random(REWARDS, np.float32))
        logps = -rng.random(len(tokens[1]), np.float32)
        store.put(prompt, *[replace(plain, advantage=0.5, logps=logps)] * (1 + prompt % 2))
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
    rollouts = [rollout for group in store.rollouts.values() for rollout in group]
    assert store.nbytes == sum(rollout.nbytes for rollout in rollouts)
    for rollout in rollouts:
        for ids in (rollout.prompt_ids, rollout.completion_ids):
            assert ids.dtype == np.int32 and ids.ndim == 1 and len(ids)
            assert 0 <= ids.min() <= ids.max() < VOCABULARY
        assert rollout.rewards_K.shape == (REWARDS,)
        assert np.isfinite(rollout.advantage)
        assert rollout.logps is None or rollout.logps.shape == rollout.completion_ids.shape
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
    assert list(archive.read(path)[1]) == [name.removesuffix(".npy")], "a name, and no more"
    with pytest.raises(gdro.CheckpointError):
        h.controller().load(path)
    assert not (tmp_path / "gdro-escaped.npy").exists()
    assert not (absolute / "gdro-escaped.npy").exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path], "nothing is unpacked anywhere"


def refused_within(path, most_bytes):
    controller = h.controller()
    tracemalloc.start()
    try:
        with without_hanging(), h.raises(gdro.CheckpointError, "state.npz", "not a readable", "earlier"):
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
    path = npz(
        tmp_path / "state.npz",
        [HEADER, *((f"{i:03}.npy", npy((2**13,), data=bytes(2**16))) for i in range(3))],
    )
    with zipfile.ZipFile(path) as file:
        first, *rest = file.infolist()[1:]
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    for member in rest:
        entry = data.index(member.filename.encode(), directory) - 46
        data[entry + 42 : entry + 46] = first.header_offset.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    refused_within(path, 2**22)


def test_a_store_takes_no_memory_for_prompts_of_others(tmp_path):
    """As it is read, rollouts of prompts that the pool does not have are not made."""
    problem = gdro.Problem([str(i) for i in range(50_000)])
    store = RolloutStore(problem, 2**30, VOCABULARY, ["a", "b"])
    for prompt in range(50_000):
        store.put(prompt, StoredRollout(*np.ones((2, 1), np.int32), np.ones(REWARDS, np.float32)))
    store.save(tmp_path / "store.npz")
    own = new_store()
    tracemalloc.start()
    try:
        own.load(tmp_path / "store.npz")
        assert tracemalloc.get_traced_memory()[1] < 4 * (tmp_path / "store.npz").stat().st_size
    finally:
        tracemalloc.stop()
    assert len(own) == 0


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
    header, arrays = archive.read(tmp_path / "state.npz")
    assert header["next_ticket"] == 5
    assert all(array.flags.writeable for array in arrays.values())
