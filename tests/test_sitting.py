"""The GPU sitting's miniature: every phase but the slow ones, in one process and its worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks/gpu/sitting.py"


def test_the_miniature_of_a_sitting_leaves_all_that_a_sitting_does(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    command = [
        sys.executable,
        str(SCRIPT),
        "mini",
        "--work",
        str(work),
        "--out",
        str(out),
        "--arms",
        "grpo,rollout-gdro-memory",
        "--seeds",
        "3-3",
        "--workers",
        "1",
        "--share",
        "--budget",
        "300",
        "--phases",
        "speed,overhead,base,quality,train",  # speed needs what check measures
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
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
    assert speed["sharing"].startswith("processes ")
    assert speed["agreement"]["greedy_float32"] == 1.0
    ways = [line["way"] for line in speed["generation"]]
    assert ways == ["static, graph", "static, launched", "transformers"]
    assert speed["base"]["taught"] == 80
    assert speed["overhead of rollout-gdro + memory"]["pairs"] == 4
    table = (out / "sitting.md").read_text().splitlines()
    assert len(table) == 2 + 4 and table[2].startswith("| grpo | 2 | 1 |")


def test_the_models_file_is_whole_once_all_its_parts_came(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
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
