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
    plugins = ("gdro.dry_run.verl.cpu", "gdro.integrations.verl", "probe")
    process = start(given, folder, log, plugins, variables=variables)
    return Going(folder, process, probe, log, kill_after)
