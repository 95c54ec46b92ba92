"""A disk that is full in the middle of a real training: one error, and nothing lost that was whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import full_disk
import pytest
import tiny
import torch

from gdro.integrations.trl.checkpoints import last_checkpoint, written
from gdro.log.run_log import STEPS

SCRIPT = Path(__file__).parent / "full_disk.py"
MEMORY = "rollout-gdro + memory(anchors=2, candidates=4, anchor_rate=0.1)"
# Which file cannot be written whole, what says so, and how it names the file.
CASES = {
    "optimizer.pt": ("joint", "CheckpointError", "checkpoint-3/optimizer.pt ("),
    "model.safetensors": (MEMORY, "CheckpointError", "checkpoint-3/*.safetensors ("),
    STEPS: (MEMORY, "LogError", "/gdro ("),
}


def room(folder: Path, file: str) -> int:
    """Bytes that the file's third version does not fit in, and that all written before it do."""
    if file != STEPS:
        return (folder / "checkpoint-3" / file).stat().st_size - 1
    lines = (folder / "gdro" / file).read_bytes().splitlines(keepends=True)
    return sum(map(len, lines[:2])) + len(lines[2]) // 2


def test_a_full_disk_is_one_clear_error_and_training_resumes(tmp_path: Path) -> None:
    whole, jobs = {}, []
    for strategy in ("joint", MEMORY):
        folder = tmp_path / f"whole-{len(whole)}"
        whole[strategy] = full_disk.make(folder, strategy)
        whole[strategy].train()
        for file, (its, *_) in CASES.items():
            if its == strategy:
                jobs.append([str(tmp_path / file), strategy, room(folder, file)])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(jobs)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(jobs) == 3, "each of them stopped"
    for (folder, strategy, _), (error, message) in zip(jobs, found, strict=True):
        file = Path(folder).name
        assert (error, CASES[file][2] in message) == (CASES[file][1], True), message
        assert "Free space" in message and "resume" in message
        last = last_checkpoint(folder)
        assert last is not None
        assert last.endswith("checkpoint-2")
        assert error == "LogError" or f"the last whole one is {last}" in message
        again = full_disk.make(Path(folder), strategy)
        again.train(resume_from_checkpoint=True)
        assert again.controller.digest() == whole[strategy].controller.digest()
        assert torch.equal(tiny.weights(again), tiny.weights(whole[strategy]))


def test_what_is_no_full_disk_stays_what_it_is(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "optimizer.pt")  # whole: nothing was being written
    with pytest.raises(RuntimeError, match="a rank did not answer"), written(tmp_path):
        raise RuntimeError("a rank did not answer")
