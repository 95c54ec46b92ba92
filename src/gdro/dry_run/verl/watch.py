"""Watch a run of `main_ppo` by the metrics that it writes, and list which parts ran."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from gdro.common import untrusted
from gdro.errors import DryRunError

METRICS = "metrics.jsonl"
PARTS = {
    "rollouts": ("timing_s/gen", "response_length/mean"),
    "reward": ("critic/score/mean", "critic/score/mean"),
    "old log-probabilities": ("timing_s/old_log_prob", "actor/entropy"),
    "reference model": ("timing_s/ref", "actor/kl_loss"),
    "advantages": ("timing_s/adv", "critic/advantages/max"),
    "gdro controller": ("gdro/total_rollouts", "gdro/total_rollouts"),
    "actor update": ("timing_s/update_actor", "actor/grad_norm"),
    "weights to the rollouts": ("timing_s/update_weights", "timing_s/update_weights"),
    "checkpoint": ("timing_s/save_checkpoint", "timing_s/save_checkpoint"),
    "evaluation": ("timing_s/testing", "timing_s/testing"),
}
"""Parts of a step: the metric that exists if the part ran, and the one to show."""


def metrics_of(path: Path) -> list[dict[str, Any]]:
    """Metrics of each complete step in verl's file."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    steps = [json.loads(line) for line in whole.splitlines()]
    return [step["data"] for step in steps if step["step"] > 0]


def wait(process: subprocess.Popen[bytes], metrics: Path, log: Path, steps: int, name: str) -> None:
    """Show progress until the process ends; an interrupt ends its whole process group.

    Raises:
        DryRunError: The run failed; the message has the last error that it printed.
    """
    from gdro.common.progress import bar

    try:
        title = f"{name} (Ray starts for a minute)"
        with bar(total=steps, desc=title, unit="step", mininterval=0.5) as shown:
            while process.poll() is None:
                shown.update(len(metrics_of(metrics)) - shown.n)
                time.sleep(0.5)
            shown.update(len(metrics_of(metrics)) - shown.n)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    if process.returncode:
        raise DryRunError(f"main_ppo ended with status {process.returncode}: {_why(log)}; log: {log}")


def _why(log: Path) -> str:
    """The last line of the log that names an error."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    named = re.findall(r"^(?:\([^)]*\) )?((?:\w+\.)*\w*(?:Error|Exception)\b.*)$", text, re.MULTILINE)
    return untrusted.shown(named[-1] if named else text[-500:])


def parts(steps: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Name of each part, the steps in which it ran, and its last value."""
    rows: list[tuple[str, str, str]] = []
    for name, (ran, shown) in PARTS.items():
        present = [step for step in steps if ran in step]
        if not present:
            rows.append((name, "-", "not part of this configuration"))
            continue
        value = present[-1].get(shown)
        seconds = "s" if shown.startswith("timing") else ""
        text = "" if value is None else f"{shown.removeprefix('timing_s/')} {value:.4g}{seconds}"
        rows.append((name, f"{len(present)} of {len(steps)}", text))
    return rows


def remark(steps: list[dict[str, Any]]) -> str | None:
    """A warning if all rewards were equal, so that the policy had no gradient; None otherwise."""
    seen = [step for step in steps if "critic/score/max" in step]
    if not seen or any(step["critic/score/max"] > step["critic/score/min"] for step in seen):
        return None
    return (
        f"every reward was {seen[-1]['critic/score/max']:g}: a random model is rarely right, so "
        "advantages and the policy's gradient were zero; the reward function ran, but this run does not "
        "show that it tells right from wrong"
    )
