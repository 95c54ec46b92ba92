"""Full disks and folders that cannot be written: one error by a stated rule, nothing torn or lost."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gdro
import helpers as h
from gdro import RunLog
from gdro.common.lock import LOCK
from gdro.log.run_log import GROUPS, STEPS, read_jsonl


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, whom no mode of a folder stops."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != LOCK}


@pytest.mark.parametrize("room", [0, 1, 200, 4000, 9000])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, room):
    c = h.controller("joint")
    h.warm(c, 3)
    c.save(tmp_path / "state.npz")
    kept, digest = files(tmp_path), c.digest()
    h.warm(c, 1)
    c.plan(h.request())
    with largest_file(room), h.raises(gdro.CheckpointError, "cannot write", "intact", "Free space"):
        c.save(tmp_path / "state.npz")
    assert files(tmp_path) == kept, "the old file is whole, and no part of the new one is left"
    resumed = h.controller("joint")
    resumed.load(tmp_path / "state.npz")
    assert resumed.digest() == digest
    # Space was freed: training may go on, too.
    c.save(tmp_path / "state.npz")
    resumed.load(tmp_path / "state.npz")
    assert resumed.digest() == c.digest()


@pytest.mark.parametrize("room", [-1, -3000, 40, 1000])
def test_a_full_disk_leaves_whole_steps_in_the_log(tmp_path, room):
    """Rule: a step that cannot be recorded stops the training; the log holds all steps before it."""
    c = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    h.warm(c, 3)
    c.save(tmp_path / "state.npz")
    kept = files(tmp_path / "gdro")
    sizes = [len(kept[GROUPS]), len(kept[STEPS])]
    most = min(sizes) + room if room < 0 else max(sizes) + room
    with largest_file(most), h.raises(gdro.LogError, "run log", "complete", "Free space", "resume"):
        h.warm(c, 1)
    assert files(tmp_path / "gdro") == kept
    resumed = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    resumed.load(tmp_path / "state.npz")
    h.warm(resumed, 2)
    assert [r["ticket"] for r in read_jsonl(tmp_path / "gdro" / STEPS)] == list(range(5))
    assert len(list(read_jsonl(tmp_path / "gdro" / GROUPS))) == 5 * 16


def test_a_full_disk_while_the_log_is_rewound(tmp_path):
    c = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    h.warm(c, 2)
    c.save(tmp_path / "state.npz")
    h.warm(c, 2)
    kept = files(tmp_path / "gdro")
    resumed = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    before = resumed.digest()
    with largest_file(100), h.raises(gdro.LogError, "cannot write the run log"):
        resumed.load(tmp_path / "state.npz")
    assert resumed.digest() == before
    assert files(tmp_path / "gdro") == kept
    resumed.load(tmp_path / "state.npz")
    assert [r["ticket"] for r in read_jsonl(tmp_path / "gdro" / STEPS)] == [0, 1]


def test_folders_that_cannot_be_written():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        c = h.controller("joint", log=RunLog(folder / "gdro"))
        h.warm(c, 2)
        c.save(folder / "state.npz")
        kept = files(folder) | files(folder / "gdro")
        for path in (folder / "gdro", folder):
            path.chmod(0o555)
        for path in (folder / "gdro").iterdir():
            path.chmod(0o444)
        with nobody():
            with h.raises(gdro.CheckpointError, "cannot write", "Permission denied", "folder"):
                c.save(folder / "state.npz")
            with h.raises(gdro.LogError, "Permission denied", "folder"):
                h.warm(c, 1)
            with h.raises(gdro.LogError, "Permission denied"):
                RunLog(folder / "another")
            with h.raises(gdro.LogError, "Permission denied"):
                c.log.set_aside()
        assert files(folder) | files(folder / "gdro") == kept
        folder.chmod(0o755)


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with h.raises(gdro.CheckpointError, "cannot write", "folder"):
        h.controller().save(tmp_path / "file" / "state.npz")
    with h.raises(gdro.LogError, "cannot write the run log"):
        RunLog(tmp_path / "file" / "gdro")


def test_another_runs_log_is_not_mixed_in(tmp_path):
    h.warm(h.controller("joint", log=RunLog(tmp_path)), 2)
    kept = files(tmp_path)
    c = h.controller("joint", log=RunLog(tmp_path))
    plan = c.plan(h.request())
    with h.raises(gdro.LogError, "earlier run", "twice", "set_aside"):
        h.close(c, plan)
    assert files(tmp_path) == kept
    other = RunLog(tmp_path)
    other.set_aside()
    h.warm(h.controller("joint", log=other), 1)
    assert [r["ticket"] for r in read_jsonl(tmp_path / STEPS)] == [0]


@pytest.mark.parametrize(
    "line", [b"{\n", b"[1]\n", b"\xff\xfe\n", b'{"tick": 1}\n', b"[" * 100_000 + b"\n"]
)
def test_a_damaged_line_inside_a_log(tmp_path, line):
    c = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    h.warm(c, 1)
    c.save(tmp_path / "state.npz")
    steps = tmp_path / "gdro" / STEPS
    steps.write_bytes(line + steps.read_bytes())
    before = steps.read_bytes()
    resumed = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    with h.raises(gdro.LogError, STEPS, "move"):
        resumed.load(tmp_path / "state.npz")
    assert steps.read_bytes() == before


def test_damage_in_groups_leaves_the_log_as_it_was(tmp_path):
    """Neither file is replaced, and no part is left, before both were read."""
    c = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    h.warm(c, 1)
    c.save(tmp_path / "state.npz")
    h.warm(c, 2)
    groups = tmp_path / "gdro" / GROUPS
    groups.write_bytes(groups.read_bytes() + b"{\n")
    kept = files(tmp_path / "gdro")
    resumed = h.controller("joint", log=RunLog(tmp_path / "gdro"))
    with h.raises(gdro.LogError, GROUPS, "damaged"):
        resumed.load(tmp_path / "state.npz")
    assert files(tmp_path / "gdro") == kept


def test_a_folder_in_the_place_of_a_file(tmp_path):
    log = RunLog(tmp_path)
    (tmp_path / "prompts.jsonl" / "in the way").mkdir(parents=True)
    with h.raises(gdro.LogError, "cannot write the run log"):
        log.write_prompts([("k", "text")])
    assert not files(tmp_path)


def test_opening_a_long_log_reads_its_end_alone(tmp_path, monkeypatch):
    path = tmp_path / STEPS
    line = b'{"ticket": 1}\n'
    for torn in (b"", b"x", b"x" * 70_000, b"x" * 65_536):
        path.write_bytes(line * 20_000 + torn)
        RunLog(tmp_path)
        assert path.stat().st_size == len(line) * 20_000
    path.write_bytes(b"x" * 200_000)
    RunLog(tmp_path)
    assert path.stat().st_size == 0
