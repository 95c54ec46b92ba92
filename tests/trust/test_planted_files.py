"""What lies in the working folder or the output folder before gdro runs: code, links, pipes, locks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import gdro
import helpers as h
from gdro import RunLog
from gdro.checkpoint.archive import write
from gdro.common.files import check_file, fresh, write_json, write_text
from gdro.common.lock import LOCK
from gdro.common.processes import minimal_environment, module_command, safe_children
from gdro.errors import GdroError
from gdro.evaluation.records import SAMPLES, append, rewrite
from gdro.log.run_log import COMPLETIONS, GROUPS, PROMPTS, RUN, STEPS

SHADOWS = ("sympy", "numbers", "numpy", "math_verify", "logging", "gdro", "multiprocessing", "random")


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A working folder whose modules leave a mark when anything imports them."""
    mark = tmp_path / "mark"
    here = tmp_path / "here"
    here.mkdir()
    for name in SHADOWS:
        (here / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\nraise SystemExit")
    monkeypatch.chdir(here)
    return mark


@pytest.mark.parametrize("path", [None, ":", "{}:"])
def test_reward_workers_run_no_module_of_the_working_folder(planted, monkeypatch, path):
    from gdro.rewards import MathVerifier

    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path.format(os.environ.get("PYTHONPATH", "")))
    with MathVerifier(workers=1) as verifier:
        assert verifier.score(["\\frac{1}{2}", "3"], ["\\boxed{0.5}", "\\boxed{4}"]) == [1.0, 0.0]
    assert not planted.exists()


def test_reward_workers_know_no_secret_of_the_environment(monkeypatch):
    from gdro.rewards.worker_pool import Pool

    for name in ("HF_TOKEN", "OPENAI_API_KEY", "PYTHONSTARTUP", "LD_PRELOAD", "PYTHONINSPECT"):
        monkeypatch.setenv(name, "")
    pool = Pool("math", 1, 5.0, 512)
    pool.start()
    known = Path(f"/proc/{pool._workers[0].process.pid}/environ").read_bytes().split(b"\0")
    pool.close()
    names = {line.partition(b"=")[0].decode() for line in known if line}
    allowed = set(minimal_environment(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"))
    assert names <= allowed and not {n for n in names if "TOKEN" in n or "KEY" in n or "PRELOAD" in n}


def test_spawned_workers_run_no_module_of_the_working_folder(planted):
    def names() -> str:
        child = get_context("spawn").Process(target=print)
        child.start()
        child.join()
        return planted.read_text() if planted.exists() else ""

    before = os.environ.get("PYTHONSAFEPATH")
    with safe_children():
        assert names() == ""
    assert os.environ.get("PYTHONSAFEPATH") == before


def test_every_process_that_gdro_starts_is_listed_here():
    """A new one has to be looked at: what does it import from the working folder?"""
    source = Path(gdro.__file__).parent
    starts = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(word in path.read_text() for word in ("Popen(", "subprocess.run", "ProcessPoolExecutor("))
        or "get_context(" in path.read_text()
    }
    # launch.py runs verl's own main_ppo in the caller's folder, as verl does (SECURITY.md).
    assert starts == {
        "rewards/worker_pool.py",
        "study/runner.py",
        "dry_run/verl/launch.py",
        "integrations/trl/async_grpo/worker.py",
    }
    assert module_command("x")[1:3] == ["-P", "-m"]


# -- links ------------------------------------------------------------------------------------

WRITERS = {
    "json": lambda p: write_json(p, {"a": 1}),
    "text": lambda p: write_text(p, "text"),
    "checkpoint": lambda p: write(p, {"a": 1}, {"x": np.zeros(2)}),
}


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("suffix", ["", ".part", ".pid.part"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_whole_file_replaces_a_link_and_follows_none(tmp_path, what, suffix, dangling):
    target, victim = tmp_path / "out" / "file", tmp_path / "victim"
    target.parent.mkdir()
    if not dangling:
        victim.write_text("precious")
    partial = f".file{suffix.replace('pid', str(os.getpid()))}"
    (target if not suffix else target.with_name(partial)).symlink_to(victim)
    WRITERS[what](target)
    assert not victim.exists() if dangling else victim.read_text() == "precious"
    assert target.is_file() and not target.is_symlink()


def test_reports_and_samples_follow_no_link(tmp_path):
    from gdro.report.page import write_page

    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "page.html").symlink_to(victim)
    write_page("a title", "", [], tmp_path / "page.html")
    assert "a title" in (tmp_path / "page.html").read_text()
    (tmp_path / SAMPLES).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        append(tmp_path, [])
    rewrite(tmp_path, [])
    append(tmp_path, [])
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", [STEPS, GROUPS, COMPLETIONS, LOCK])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_log_is_not_written_through_a_link(tmp_path, name, dangling):
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_text("precious, and no newline at the end")
    (tmp_path / "gdro").mkdir()
    (tmp_path / "gdro" / name).symlink_to(victim)
    with h.raises(gdro.LogError, "symbolic link"):
        RunLog(tmp_path / "gdro")
    assert not victim.exists() if dangling else victim.read_text().startswith("precious")


@pytest.mark.parametrize("name", [STEPS, GROUPS, COMPLETIONS, RUN, PROMPTS])
def test_a_link_planted_while_a_log_is_open(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    log = RunLog(tmp_path / "gdro")
    (log.directory / name).symlink_to(victim)
    if name == RUN:
        log.describe({})
    elif name == PROMPTS:
        log.write_prompts([("a", "text")])
    elif name == COMPLETIONS:
        with h.raises(gdro.LogError, "symbolic link"):
            log.write_completions({"a": "text"})
    else:
        with h.raises(gdro.LogError, "symbolic link"):
            log.append({"ticket": 0}, [{"ticket": 0}])
    assert victim.read_text() == "precious\n"


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    (tmp_path / "gdro").mkdir()
    os.mkfifo(tmp_path / "gdro" / STEPS)
    with h.raises(gdro.LogError, "pipe"):
        RunLog(tmp_path / "gdro")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe"):
        write_json(tmp_path / "pipe", {})
    with h.raises(GdroError, "-o is /dev/null", "device"):
        check_file(Path("/dev/null"), "-o")


# -- two runs ---------------------------------------------------------------------------------

OTHER = """
import sys
from gdro import RunLog
from gdro.errors import LogError
try:
    log = RunLog(sys.argv[1])
    log.append({"ticket": 7}, [])
except LogError as error:
    sys.exit(str(error))
print("written", flush=True)
sys.stdin.read()
"""


def other(folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OTHER, str(folder)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    log = RunLog(tmp_path)
    log.append({"ticket": 0}, [])
    before = (tmp_path / STEPS).read_bytes()
    said = other(tmp_path).communicate()[1]
    assert f"process {os.getpid()} on " in said and "Choose another output folder" in said
    assert (tmp_path / STEPS).read_bytes() == before
    # In this process it is the next trainer of a notebook; it holds the lock once the first is gone.
    second = RunLog(tmp_path)
    second.append({"ticket": 1}, [])
    log.release()
    second.append({"ticket": 2}, [])
    assert "process" in other(tmp_path).communicate()[1]
    second.release()
    process = other(tmp_path)
    assert process.stdout.readline() == "written\n"
    with h.raises(gdro.LogError, f"process {process.pid} on"):
        second.append({"ticket": 3}, [])
    process.kill()  # a lock ends with its process
    process.wait()
    RunLog(tmp_path).append({"ticket": 4}, [])


def test_two_logs_of_one_process_do_not_mix(tmp_path):
    first, second = RunLog(tmp_path), RunLog(tmp_path)
    first.append({"ticket": 0}, [])
    with h.raises(gdro.LogError, "holds the steps of an earlier run"):
        second.describe({})
    second.append({"ticket": 0}, [])
    with h.raises(gdro.LogError, "another log of this process"):
        first.append({"ticket": 1}, [])


@pytest.mark.parametrize("key", ["host", "space", "boot"])
def test_a_lock_of_another_host_is_not_taken_for_abandoned(tmp_path, key):
    """Hosts that share a file system may have one name, and no process of the holder's id is here."""
    process = other(tmp_path)
    assert process.stdout.readline() == "written\n"
    holder = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**holder, "pid": 2**22 + 1, key: "elsewhere"}))
    with h.raises(gdro.LogError, f"process {2**22 + 1} on", "cannot be seen from here"):
        RunLog(tmp_path)
    process.communicate()


def test_a_dry_run_deletes_nothing_in_its_folder(tmp_path):
    folder = fresh(tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    (folder / "deep").mkdir()
    (folder / "deep/model.bin").write_text("mine too")
    assert list(fresh(folder).iterdir()) == [folder / ".made-by-gdro"]
    assert (tmp_path / "out.1/notes.txt").read_text() == "mine"
    assert (tmp_path / "out.1/deep/model.bin").read_text() == "mine too"
    fresh(folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.1", "out.2"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with h.raises(gdro.GdroError, "holds other files"):
        fresh(tmp_path / "other")
    assert (tmp_path / "other/file").exists()


@pytest.mark.parametrize(
    "text", ["", "x", "[]", '{"pid": "\\u001b[2J", "host": 1, "since": {}}', "9" * 9999]
)
def test_a_lock_with_any_text_is_refused_in_one_line(tmp_path, text):
    process = other(tmp_path)
    assert process.stdout.readline() == "written\n"
    (tmp_path / LOCK).write_text(text)
    with h.raises(gdro.LogError, "another process writes the run log"):
        RunLog(tmp_path)
    process.communicate()


@pytest.mark.parametrize("deed", ["steps", "groups", "cut", "longer", "folder", "lock"])
def test_a_log_that_is_deleted_or_changed_under_a_run_is_noticed(tmp_path, deed):
    log = RunLog(tmp_path / "gdro")
    log.append({"ticket": 0}, [{"ticket": 0}])
    steps = log.directory / STEPS
    if deed == "steps":
        steps.unlink()
    elif deed == "groups":
        (log.directory / GROUPS).unlink()
    elif deed == "cut":
        os.truncate(steps, 3)
    elif deed == "longer":
        steps.write_text(steps.read_text() + json.dumps({"ticket": 9}) + "\n")
    elif deed == "folder":
        shutil.rmtree(log.directory)
        RunLog(log.directory)
    else:
        (log.directory / LOCK).unlink()
    with h.raises(gdro.LogError, "deleted"):
        log.append({"ticket": 1}, [{"ticket": 1}])
