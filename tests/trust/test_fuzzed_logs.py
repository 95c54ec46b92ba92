"""Run logs that were damaged anywhere: drawn, or refused in one line that names the file."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
import helpers as h
from gdro.cli import main
from gdro.report import page
from gdro.report.serve import ReportServer
from trust import logfuzz

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from logs import evaluation, play, recipe_run

# A report takes many times a checkpoint's time: `make chaos` draws a quarter of its ten thousand.
FEWER = settings(max_examples=max(40, settings.default.max_examples // 4))
RANDOMS = st.randoms(use_true_random=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Real logs: one of each kind of strategy, a recipe's, one with an evaluation, a released one."""
    folder = tmp_path_factory.mktemp("runs")
    recipe_run(folder / "recipe", steps=4)
    for strategy in ("uniform", "gdro", "sec"):
        play(folder / strategy, strategy, steps=8, texts=strategy == "gdro")
    curves = {"step": [1, 2], "entropy": [1.0, 0.5], "length": [3.0, 4.0]}
    (folder / "gdro/eval.json").write_text(json.dumps({**evaluation(0.4), "curves": curves}))
    released = Path(__file__).parents[1] / "fixtures/0.1.0/paper"
    shutil.copytree(released, folder / "released", ignore=shutil.ignore_patterns("expected.json"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Compile an equal specification once: what a log changes is seen still."""
    patch = pytest.MonkeyPatch()
    of_text = cache(lambda text: compiled(page_panel[text]))
    page_panel, compiled = {}, page.compiled

    def once(panel):
        text = json.dumps([panel.spec, panel.height, panel.legend])
        page_panel[text] = panel
        return of_text(text)

    patch.setattr(page, "compiled", once)
    patch.setattr(page, "packed_text", cache(page.packed_text))
    yield
    patch.undo()


def told(arguments):
    """Exit status and what was printed of a command; a traceback or a warning fails."""
    err = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        status = main([str(argument) for argument in arguments])
    return status, err.getvalue()


def is_drawn_or_refused(arguments, output, names):
    output.unlink(missing_ok=True)
    status, err = told(arguments)
    if status == 0:
        assert err == "" and output.read_text(encoding="utf-8").startswith("<!doctype html>")
        return
    assert status == 2 and err.startswith("gdro: ") and err.endswith("\n")
    assert err.count("\n") == 1 and err[:-1].isprintable() and len(err) < 1000, err
    assert any(name in err for name in names), f"{err} does not name {names}"
    assert not output.exists()


@FEWER
@given(random=RANDOMS, name=st.sampled_from(["recipe", "uniform", "gdro", "sec", "released"]))
def test_report_of_mutated_logs(tmp_path_factory, runs, random, name):
    folder = tmp_path_factory.getbasetemp() / "fuzzed-log"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs / name, folder)
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".jsonl"))
    names = logfuzz.damage(folder, files, random)
    is_drawn_or_refused(["report", folder], folder / "report.html", names)


@FEWER
@given(random=RANDOMS, name=st.sampled_from(["uniform", "gdro"]), ours=st.booleans())
def test_diagnosis_of_mutated_logs(tmp_path_factory, runs, random, name, ours):
    diagnosed(tmp_path_factory.getbasetemp(), runs, random, name, ours)


def diagnosed(folder, runs, random, name, ours):
    path = folder / "fuzzed-rewards.jsonl"
    groups = (runs / name / "gdro/groups.jsonl").read_text().splitlines()[:60]
    if not ours:
        rows = [json.loads(line) for line in groups]
        groups = [
            json.dumps({"prompt_id": r["key"], "rewards": [1.0] * r["successes"] + [0.0] * 2, "step": 1})
            for r in rows
        ]
    path.write_text("\n".join(groups) + "\n")
    names = [*logfuzz.damage(path.parent, [path], random), "prompt key"]
    arguments = ["diagnose", path, "--strategy", "rollout-gdro"]
    is_drawn_or_refused(arguments, path.with_suffix(".html"), names)


@FEWER
@given(random=RANDOMS)
def test_resuming_on_mutated_logs(tmp_path_factory, random):
    """Rewound to the checkpoint, or refused with the log as it was."""
    folder = tmp_path_factory.mktemp("resumed")
    c = h.controller("joint", log=gdro.RunLog(folder / "gdro"))
    h.warm(c, 2)
    c.save(folder / "state.npz")
    h.warm(c, 1)
    c.log.release()
    files = sorted((folder / "gdro").glob("*.json*"))
    names = logfuzz.damage(folder, files, random)
    log = gdro.RunLog(folder / "gdro")
    before = {p.name: p.read_bytes() for p in files}
    try:
        h.controller("joint", log=log).load(folder / "state.npz")
    except gdro.LogError as error:
        assert any(name in str(error) for name in names)
        assert {p.name: p.read_bytes() for p in files} == before
    finally:
        log.release()


@FEWER
@given(random=RANDOMS)
def test_the_server_of_mutated_logs(tmp_path_factory, runs, random):
    folder = tmp_path_factory.getbasetemp() / "served-log"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs / "gdro", folder)
    logfuzz.damage(folder, sorted(folder.rglob("*.json*")), random)
    with ReportServer([folder]) as server:
        assert server.page().startswith(b"<!doctype html>")


FAULTS = {
    "unhashable ticket": ("groups.jsonl", {"ticket": [1]}, "'ticket' = [1]; it must be a whole number"),
    "many rollouts": ("groups.jsonl", {"n": 10**400}, "it must be a whole number, 0 to 16384"),
    "more right than there are": ("groups.jsonl", {"n": 4, "successes": 5}, "5 successes of 4"),
    "another bin": ("groups.jsonl", {"bin": 10}, "has bin = 10; the run has 10 bins"),
    "a long key": ("groups.jsonl", {"key": "k" * 20_000}, "a text of 1 to 16,384 characters"),
    "no list": ("steps.jsonl", {"bins": {"prompts": 1}}, "lacks 'bins.rollouts'"),
    "a huge metric": (
        "steps.jsonl",
        {"metrics": {"reward": "1"}},
        "'metrics.reward' = '1'",
    ),
    "a ticket of words": ("steps.jsonl", {"ticket": "\x1b[2J"}, r"'ticket' = '\x1b[2J'"),
    "no text": ("prompts.jsonl", {"text": None}, "'text' = None; it must be a text"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_fault_is_named_with_file_and_line(tmp_path, runs, fault):
    name, values, said = FAULTS[fault]
    shutil.copytree(runs / "gdro", tmp_path / "run")
    path = tmp_path / "run/gdro" / name
    lines(path, lambda i, r: {**r, **values} if i == 2 else r)
    status, err = told(["report", tmp_path / "run"])
    assert status == 2 and f"line 3 of {path} " in err and said in err, err


def test_a_header_without_its_strategy_is_refused(tmp_path, runs):
    shutil.copytree(runs / "uniform", tmp_path / "run")
    path = tmp_path / "run/gdro/run.json"
    header = json.loads(path.read_text())
    del header["strategy"]
    path.write_text(json.dumps(header))
    status, err = told(["report", tmp_path / "run"])
    assert status == 2 and f"{path} lacks 'strategy'" in err


ROOM = 2**29
"""Bytes beyond what the libraries have taken that a child may have: absurd counts stay far below."""
CHILD = f"""
import resource, sys
from pathlib import Path
from gdro.errors import GdroError
from gdro.report.diagnose.page import replay, read_rewards, figures_of, measured
from gdro.report.explorer import explorer
from gdro.report.figures import all_figures
from gdro.report.load import load_runs
from gdro.report.page import _intro
from gdro.report.verdicts import verdicts
import gdro.strategies.rollout_gdro

taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + {ROOM}, -1))
for folder in map(Path, sys.argv[2:]):
    try:
        if sys.argv[1] == "report":
            runs, summary = load_runs([folder])
            all_figures(runs, summary), verdicts(runs), explorer(runs), _intro(runs, summary)
        else:
            log = read_rewards(folder / "gdro/groups.jsonl")
            figures_of(log, [measured(log), *replay(log, ["rollout-gdro"])])
    except GdroError:
        print("refused:", folder.name)
    except (MemoryError, ValueError) as error:
        print("failed:", folder.name, repr(error)[:80])
    else:
        print("drawn:", folder.name)
"""


def lines(path, change, most=None):
    """Rewrite each record of a file."""
    records = [json.loads(line) for line in path.read_text().splitlines()[:most]]
    path.write_text("".join(json.dumps(change(i, r)) + "\n" for i, r in enumerate(records)))


def header(folder, **values):
    path = folder / "gdro/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def names_by_step(folder):
    """Few bytes a line, and a table of lines times names: 2,000 x 80,000 numbers."""
    path = folder / "gdro/steps.jsonl"
    first = json.loads(path.read_text().splitlines()[0])
    steps = ({**first, "ticket": i, "metrics": {f"{i}/{j}": 1 for j in range(40)}} for i in range(2000))
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))


def groups(folder, **values):
    lines(folder / "gdro/groups.jsonl", lambda i, r: {**r, **values}, 64)


ABSURD = {
    "prompts": lambda folder: header(folder, num_prompts=500_000_000),
    "many more prompts": lambda folder: header(folder, num_prompts=2**61),
    "bins": lambda folder: header(folder, num_bins=2**40),
    "rollouts of a group": lambda folder: groups(folder, n=500_000_000, successes=1),
    "all that a group may have": lambda folder: groups(folder, n=2**14, successes=1),
    "bin": lambda folder: groups(folder, bin=2**40),
    "tickets": lambda folder: groups(folder, ticket=2**61),
    "names": names_by_step,
    "window": lambda folder: header(folder, difficulty={"tracker": "windowed", "window": 2**50}),
}


@pytest.mark.parametrize("command", ["report", "diagnose"])
def test_absurd_counts_take_no_memory(tmp_path, runs, command):
    for absurd, change in ABSURD.items():
        shutil.copytree(runs / "gdro", tmp_path / absurd)
        change(tmp_path / absurd)
    folders = [tmp_path / absurd for absurd in ABSURD]
    made = subprocess.run(
        [sys.executable, "-c", CHILD, command, *folders], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-2000:]
    assert "failed" not in made.stdout and len(made.stdout.splitlines()) == len(ABSURD), made.stdout
