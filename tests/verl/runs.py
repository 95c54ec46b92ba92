"""Real runs of verl's main_ppo: two ranks, FSDP2 on gloo, real Ray."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdro.dry_run.launch import cpu_overrides, start
from gdro.dry_run.quickstart import prepare

HERE = Path(__file__).parent
LIMIT = 400  # seconds; a run takes one to two minutes on two cores


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


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(folder: Path, *overrides: str, steps: int, kill_after: int = 0, fail: str = "") -> Ran:
    """Run main_ppo; after the checkpoint of step `kill_after` the driver is killed."""
    given = [*cpu_overrides(2), *prepare(folder, train_size=32), *overrides,
             f"trainer.total_training_steps={steps}",
             f"reward.custom_reward_function.path={HERE / 'reward.py'}"]  # fmt: skip
    probe, log = folder / "probe.jsonl", folder / f"log-{time.time_ns()}.txt"
    os.environ |= {"PROBE_FILE": str(probe), "PROBE_FAIL": fail, "PYTHONPATH": str(HERE)}
    process = start(given, folder, log, plugins=("gdro.integrations.verl", "probe"))
    until = time.monotonic() + LIMIT
    while process.poll() is None:
        assert time.monotonic() < until, f"too slow: {log.read_text()[-2000:]}"
        if kill_after and len(list((folder / "checkpoints").glob(f"global_step_{kill_after}/data.pt"))):
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.2)
    code = process.wait()
    text = log.read_text(errors="replace")
    assert kill_after or code == 0, text[-4000:]
    return Ran(folder, lines(probe), text)
