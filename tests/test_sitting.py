"""The GPU sitting's miniature: every phase but the slow ones, in one process and its worker."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from gdro.common.files import fresh
from gdro.errors import GdroError

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu/sitting.py"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def mini(folder: Path, *more: str, phases: str = "train", budget: str = "300") -> list[str]:
    """Command of a miniature that works below a folder."""
    command = [sys.executable, str(SCRIPT), "mini", "--work", str(folder / "work")]
    command += ["--out", str(folder / "out"), "--arms", "grpo,rollout-gdro-memory", "--workers", "1"]
    return [*command, "--budget", budget, "--phases", phases, *more]


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)


def test_the_miniature_of_a_sitting_leaves_all_that_a_sitting_does(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    phases = "speed,overhead,base,quality,train"  # speed needs what check measures
    done = ended(mini(tmp_path, "--seeds", "3-3", "--share", phases=phases))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = sorted(path.name for path in out.iterdir())
    assert found == ["runs.tar.gz", "sitting.jsonl", "sitting.md", "speed.json"]
    with tarfile.open(out / "runs.tar.gz") as tar:
        assert "train/worker-0.log" in tar.getnames()
    lines = [json.loads(line) for line in (out / "sitting.jsonl").read_text().splitlines()]
    assert [(line["arm"], line["step"]) for line in lines] == [
        ("grpo", 2),
        ("grpo", 4),
        ("rollout-gdro-memory", 2),
        ("rollout-gdro-memory", 4),
    ]
    assert {line["seed"] for line in lines} == {3} and len({line["base"] for line in lines}) == 1
    assert {line["device"] for line in lines} == {"CPU, a miniature"}
    bases = [(work / f"train/{run}base.json").read_text() for run in ("", "seed-3-grpo/")]
    assert bases[0] == bases[1]  # evaluated once
    speed = json.loads((out / "speed.json").read_text())
    check_record(speed, lines)
    table = (out / "sitting.md").read_text()
    assert len(table.splitlines()) == 2 + 4 and table.splitlines()[2].startswith("| grpo | 2 | 1 |")
    assert "nan" not in table and "| pass@4 |" in table and "pass@16" not in table
    said = [line for line in done.stdout.splitlines() if " at step " in line]
    assert len(said) == 4 and max(map(len, said)) < 120  # each evaluation once

    again = ended(mini(tmp_path, "--seeds", "3-3"))  # has nothing to train
    assert again.returncode == 3 and "all 2 runs were finished by earlier calls" in again.stdout
    assert " at step " not in again.stdout
    later = json.loads((out / "speed.json").read_text())
    assert [call["phases"][-1] for call in later["calls"]] == ["train", "train"]
    assert later["measured"] == speed["measured"]  # nothing was measured anew
    assert {run["call"] for run in later["runs of train"]} == {speed["calls"][0]["call"]}
    assert (out / "sitting.jsonl").read_text() == "".join(json.dumps(line) + "\n" for line in lines)


def check_record(speed: dict, lines: list[dict]) -> None:
    """What was measured, with how the GPU was shared and how many processes ran."""
    how = speed["calls"][0]
    assert how["sharing"].startswith("processes ") and how["processes"] == 1
    for name in ("generation", "agreement", "overhead of rollout-gdro", "runs of train"):
        assert speed["measured"][name] == {name: how[name] for name in ("call", "sharing", "processes")}
    assert all(line[name] == how[name] for line in lines for name in ("call", "sharing", "processes"))
    assert [run["step"] for run in speed["runs of train"]] == [4, 4]
    assert speed["agreement"]["greedy_float32"] == 1.0
    ways = [line["way"] for line in speed["generation"]]
    assert ways == ["static, graph", "static, launched", "transformers"]
    assert speed["base"]["taught"] == 80
    assert speed["overhead of rollout-gdro + memory"]["pairs"] == 4


def children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, parent in pairs if int(parent) == process]


def running(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def until(condition, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_no_training_outlives_a_sitting_and_sigterm_collects(tmp_path: Path) -> None:
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    sitting = subprocess.Popen(mini(tmp_path, "trl.max_steps=2000", "evaluation.every=1"), **quiet)
    assert any(" at step " in line for line in sitting.stdout)  # it reads until there is one
    (worker,) = children(sitting.pid)
    sitting.send_signal(signal.SIGTERM)
    said, _ = sitting.communicate(timeout=60)
    assert sitting.returncode == 128 + signal.SIGTERM and "ended by SIGTERM" in said
    assert not running(worker)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"runs.tar.gz", "sitting.md"}
    lines = (tmp_path / "out/sitting.jsonl").read_text().splitlines()
    kept = next((tmp_path / "work/train").glob("seed-0-grpo/grpo/evaluations.jsonl"))
    assert len(lines) == len(kept.read_text().splitlines()) >= 1

    sitting = subprocess.Popen(mini(tmp_path, "trl.max_steps=2000", "evaluation.every=1"), **quiet)
    assert any(" at step " in line for line in sitting.stdout)
    (worker,) = children(sitting.pid)
    sitting.kill()
    sitting.wait()
    sitting.stdout.close()
    until(lambda: not running(worker), 30)
    assert "the sitting is gone" in (tmp_path / "work/train/worker-0.log").read_text()


def test_a_sitting_without_time_says_so_and_writes_no_lines(tmp_path: Path) -> None:
    done = ended(mini(tmp_path, budget="1"))
    assert done.returncode == 3, done.stdout[-2000:] + done.stderr[-4000:]
    assert "train did nothing: the time of --budget was over" in done.stdout
    assert not (tmp_path / "out/sitting.jsonl").exists()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["--seeds", "5-3"], "--seeds is '5-3'; write first-last"),
        (["--seeds", "3-"], "--seeds is '3-'"),
        (["--workers", "0"], "--workers is 0; give 1 or more"),
        (["--workers", "-1"], "--workers is -1; give 1 or more"),
        (["--budget", "0"], "--budget is 0; give seconds"),
        (["--budget", "nan"], "--budget is nan"),
        (["--budget", "50"], "in which no run can begin: give more than 50"),
        (["--needed", "-1"], "--needed is -1"),
        (["--arms", "grpo,nothing"], "no arm 'nothing'; there are: grpo"),
        (["--arms", "grpo,grpo"], "name each arm once"),
        (["--phases", "training"], "no phase 'training'; there are: check"),
        (["trl.nothing"], "trl.nothing"),
        (["arms.grpo.strategy=nothing"], "nothing"),
        (["--out", "FILE"], "--out is .*, which is a file"),
        (["--work", "FILE"], "--work is .*, which is a file"),
        (["--out", "/proc/sitting"], "--out is /proc/sitting, which cannot be created"),
        (["--work", "/proc/sitting"], "--work is /proc/sitting, which cannot be created"),
        (["--work", "OTHERS"], "which holds files that no sitting wrote"),
        (["--carried", "OTHERS"], "give the folder that `sitting.py prepare` wrote"),
        (["--carried", "CUT"], "cannot be unpacked"),
    ],
)
def test_what_a_sitting_cannot_do_is_refused_before_any_work(
    tmp_path: Path, given: list[str], what: str
) -> None:
    import command
    from sitting import PHASES

    (tmp_path / "FILE").write_text("precious")
    (tmp_path / "OTHERS").mkdir()
    (tmp_path / "OTHERS/train.jsonl").write_text("precious")
    (tmp_path / "CUT/a").mkdir(parents=True)
    (tmp_path / "CUT/a/train.jsonl.gz").write_bytes(gzip.compress(b"{}" * 99)[:-9])
    names = ("FILE", "OTHERS", "CUT")
    given = [str(tmp_path / text) if text in names else text for text in given]
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--carried", "/none"]
    if what.endswith("cannot be created") and not Path("/proc/self").exists():
        pytest.skip("no folder of which even the superuser cannot create one")
    with pytest.raises(GdroError, match=what):
        command.sitting(command.parser("", PHASES).parse_args(["run", *where, *given]), PHASES)
    assert (tmp_path / "OTHERS/train.jsonl").read_text() == "precious"


def test_timed_steps_are_of_this_call_and_keep_to_their_files(tmp_path: Path) -> None:
    import arms

    place = tmp_path / "steps-1"
    (place / "seed-0-grpo/grpo").mkdir(parents=True)
    with pytest.raises(GdroError, match="was not made by a sitting"):
        arms.emptied(place)
    assert (place / "seed-0-grpo/grpo").exists()
    (place / "job.json").write_text("{}")
    assert not arms.emptied(place).exists()


def test_lines_are_marked_with_the_call_that_trained_them(tmp_path: Path) -> None:
    import arms

    run = tmp_path / "seed-0-grpo"
    (run / "grpo").mkdir(parents=True)
    written = [{"step": step, "arm": "grpo", "seed": 0} for step in (2, 4)]
    arms.write_lines(run / "grpo/evaluations.jsonl", written)
    one = {"after": 0, "call": "first", "sharing": "processes take turns", "processes": 2}
    two = {**one, "after": 2, "call": "second", "processes": 4}
    assert [line.get("call") for line in arms.gathered(tmp_path, {})] == [None, None]
    (run / arms.HOW).write_text(json.dumps([one, two]))
    lines = arms.gathered(tmp_path, {"device": "GPU"})
    assert [(line["call"], line["processes"]) for line in lines] == [("first", 2), ("second", 4)]
    job = arms.Job([], ["grpo"], [0], 0.0, 0.0, "third", "processes share the GPU (MPS)", 8)
    arms._record(job, run, "grpo")  # no checkpoint: it starts afresh, so no line is kept
    assert json.loads((run / arms.HOW).read_text())[0]["call"] == "third"
    assert arms.gathered(tmp_path, {}) == []


def test_the_gpu_service_ends_with_a_killed_sitting(tmp_path: Path) -> None:
    from share import CONTROL

    log = tmp_path / "log"
    stand_in = tmp_path / CONTROL  # the service itself needs a GPU
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = -d ] && echo begun >> {log} && exit 0\ncat >> {log}\n')
    stand_in.chmod(0o755)
    script = "import share\nshare._start = lambda control: ''\n"
    script += "with share.shared() as how:\n    print(how, flush=True)\n    input()\n"
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(SCRIPT.parent)}
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sitting = subprocess.Popen([sys.executable, "-c", script], env=env, **piped)
    assert sitting.stdout.readline() == "processes share the GPU (MPS)\n"
    sitting.kill()
    sitting.communicate()
    until(lambda: log.exists() and "quit -t 2" in log.read_text(), 30)


def test_prepare_checks_first_and_removes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious/file"
    precious.parent.mkdir()
    precious.write_text("precious")
    data = tmp_path / "gsm8k.jsonl"
    data.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}) + "\n")
    (tmp_path / "other.jsonl").write_text('{"text": "a"}\n')

    def refused(train: Path, *more: str) -> str:
        command = [sys.executable, str(SCRIPT), "prepare", "--train", str(train), "--test", str(data)]
        done = ended([*command, "--to", str(precious.parent), *more])
        assert done.returncode == 2 and precious.read_text() == "precious"
        return done.stderr

    def one_line(text: str) -> str:
        assert len(text.strip().splitlines()) == 1 and text.startswith("sitting.py: ")
        return text

    assert "cannot read /nope.jsonl" in one_line(refused(Path("/nope.jsonl")))
    assert "give the .jsonl file of GSM8K" in one_line(refused(tmp_path))
    assert "holds other files; give another --to" in one_line(refused(data))
    assert "rows are not GSM8K's" in one_line(refused(tmp_path / "other.jsonl"))
    assert "--python is '3'" in one_line(refused(data, "--python", "3"))


def test_prepare_renames_what_it_wrote_before_and_says_how_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import carry

    asked = []
    monkeypatch.setattr(carry, "_wheels", lambda folder, python: asked.append(python))  # a network
    data = tmp_path / "gsm8k.jsonl"
    data.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}) + "\n")
    (fresh(tmp_path / "to") / "added").touch()  # as an earlier call leaves it
    carry.prepare(tmp_path / "to", {"train": data, "test": data}, "3.13")
    assert asked == ["3.13"] and (tmp_path / "to.1/added").exists()
    assert {path.name for path in (tmp_path / "to/a").iterdir()} > {"train.jsonl.gz", "tokenizer"}
    said = capsys.readouterr().out
    assert f"pip install --no-index --no-deps {tmp_path}/to/a/wheels/*.whl" in said
    assert "Linux with Python 3.13" in said


def test_the_models_file_is_whole_once_all_its_parts_came(tmp_path: Path) -> None:
    import carry

    first, second, work = tmp_path / "one/a", tmp_path / "two/b", tmp_path / "work"
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "model.json").write_text(json.dumps({"name": "m.gguf", "bytes": 5}))
    (first / "model.gguf.0").write_bytes(b"abc")
    (second / "model.gguf.1").write_bytes(b"de")
    assert carry.unpack(first.parent, work) is None
    whole = carry.unpack(second.parent, work)
    assert whole is not None and whole.read_bytes() == b"abcde"
    assert carry.unpack(second.parent, work) == whole
