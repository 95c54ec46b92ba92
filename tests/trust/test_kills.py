"""A short version of the kills of `make chaos`: simulator and real trainer, killed and resumed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "chaos/run_kills.py"


def test_killed_runs_end_as_if_nothing_had_been():
    # A process of its own: this one may hold threads, which do not survive a fork.
    command = [sys.executable, str(SCRIPT), "--simulated", "24", "--trained", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    kills = {place: int(count) for count, place in re.findall(r"(\d+)  (\w+: \w+)", done.stdout)}
    assert sum(kills.values()) >= 28
    assert kills["simulator: checkpoint"] >= 4, done.stdout
    assert kills["simulator: log"] >= 4, done.stdout
    assert "TRL: checkpoint" in kills, done.stdout
