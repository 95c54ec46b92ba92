"""Real runs of verl's main_ppo: two ranks, FSDP2 on gloo, real Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from gdro.dry_run.verl.launch import cpu_overrides, start
from gdro.dry_run.verl.quickstart import prepare

HERE = Path(__file__).parent
LIMIT = 600  # seconds; three at once take some two minutes on two cores


@dataclass(frozen=True)
class Ran:
    """What a run left behind."""

    folder: Path
    steps: list[dict[str, Any]]
    text: str

    def step(self, number: int) -> dict[str, Any]:
        return next(s for s in self.steps if s["step"] == number)

    def plans(self) -> dict[int, dict[int, int]]:
        """Rollouts of each prompt by step, from the run log."""
        found: dict[int, dict[int, int]] = {}
        closed = {s["ticket"]: s["step"] for s in lines(self.log / "steps.jsonl")}
        for group in lines(self.log / "groups.jsonl"):
            found.setdefault(closed[group["ticket"]], {})[int(group["key"])] = group["n"]
        return found

    @property
    def log(self) -> Path:
        return self.folder / "checkpoints/gdro"


def by_prompt(step: dict[str, Any]) -> dict[int, list[Any]]:
    """Answer, reward and advantage of each row by prompt; sessions of a prompt are exchangeable."""
    found: dict[int, list[Any]] = {}
    for index, tokens, reward, advantage in zip(
        step["index"], step["tokens"], step["reward"], step["advantages"], strict=True
    ):
        found.setdefault(index, []).append((tokens, reward, advantage))
    return {index: sorted(rows) for index, rows in found.items()}


def assert_trained_alike(mine: Ran, stock: Ran, steps: int) -> None:
    """Answers, rewards and advantages are equal; weights differ by the order of sums in float32.

    Rows come back in the order in which Ray's workers finish, so that mini-batches are summed in
    another order in every run, stock verl's own too.
    """
    for number in range(1, steps + 1):
        own, theirs = by_prompt(mine.step(number)), by_prompt(stock.step(number))
        assert own.keys() == theirs.keys()
        for index, rows in own.items():
            assert [row[:2] for row in rows] == [row[:2] for row in theirs[index]]
            for (_, _, a), (_, _, b) in zip(rows, theirs[index], strict=True):
                assert a == pytest.approx(b, abs=1e-6)
    path = f"checkpoints/global_step_{steps}/actor/huggingface/model.safetensors"
    a, b = load_file(mine.folder / path), load_file(stock.folder / path)
    start = load_file(stock.folder / "model/model.safetensors")
    assert a.keys() == b.keys()
    moved = max(abs(b[name] - start[name]).max() for name in b if name in start)
    assert moved > 0
    for name in a:
        assert abs(a[name] - b[name]).max() < 0.02 * moved
        assert abs(a[name] - b[name]).mean() < 1e-5


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines; a killed run may have cut the last one."""
    whole = path.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def rows_of(step: dict[str, Any]) -> list[dict[str, Any]]:
    """Each row of a step that a probe watched."""
    num = len(step["keys"])
    names = [name for name, value in step.items() if isinstance(value, list) and len(value) == num]
    rows = [{name: step[name][row] for name in names} for row in range(num)]
    for row in rows:
        row["recalled"] = row["keys"] in step["recalled"]
        row["anchor"] = row["keys"] in step["anchors"]
    return rows


@dataclass(frozen=True)
class Going:
    """A run of main_ppo that has been started; two at once wait for Ray together."""

    folder: Path
    process: subprocess.Popen[bytes]
    probe: Path
    log: Path
    kill_after: int

    def begun(self) -> Going:
        """Wait until its workers have met: of ports that are chosen at once one may be taken."""
        until = time.monotonic() + LIMIT
        while self.process.poll() is None and b"engine initialized" not in self.log.read_bytes():
            if time.monotonic() > until:
                break  # `finish` waits no longer than that again, and says what was the matter
            time.sleep(0.5)
        return self

    def finish(self) -> Ran:
        """Wait for its end, or kill the driver after the checkpoint of step `kill_after`."""
        until = time.monotonic() + LIMIT
        saved = self.folder / f"checkpoints/global_step_{self.kill_after}/data.pt"
        while self.process.poll() is None:
            late = time.monotonic() > until
            if late or saved.exists():
                os.killpg(self.process.pid, signal.SIGKILL)
                assert not late, f"too slow: {self.log.read_text(errors='replace')[-2000:]}"
                break
            time.sleep(0.2)
        code = self.process.wait()
        text = self.log.read_text(errors="replace")
        assert code == (-signal.SIGKILL if self.kill_after else 0), text[-4000:]
        return Ran(self.folder, lines(self.probe), text)


def go(folder: Path, *overrides: str, steps: int, kill_after: int = 0, fail: str = "") -> Going:
    """Start main_ppo."""
    given = [
        *cpu_overrides(2),
        *prepare(folder, train_size=32),
        *overrides,
        f"trainer.total_training_steps={steps}",
        f"reward.custom_reward_function.path={HERE / 'reward.py'}",
    ]
    probe, log = (folder / f"{name}-{time.time_ns()}" for name in ("probe", "log"))
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"PROBE_FILE": str(probe), "PROBE_FAIL": fail, "PYTHONPATH": path}
    variables["RAY_ADDRESS"] = "local"  # another cluster of this machine is not joined
    plugins = ("gdro.dry_run.verl.cpu", "gdro.integrations.verl", "probe")
    process = start(given, folder, log, plugins, variables=variables)
    return Going(folder, process, probe, log, kill_after)
