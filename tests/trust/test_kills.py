"""A short version of the kills of `make chaos`: simulator and real trainer, killed and resumed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gdro

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import run_kills

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
    assert "simulator: extend" in kills, done.stdout
    assert "TRL: extend" not in kills, "the default does not extend"


def test_the_default_strategy_is_among_those_that_are_killed():
    assert gdro.make_strategy(run_kills.DEFAULT) == gdro.default_strategy(4)
    assert run_kills.DEFAULT in run_kills.SIMULATED and run_kills.TRAINED[0] == run_kills.DEFAULT


def test_a_long_run_that_misses_its_minima_fails():
    kills = Counter({"TRL: checkpoint": 4, "TRL: log": 46, "simulator: checkpoint": 6})
    kills |= {"simulator: extend": 1, "simulator: plan": 143}
    assert run_kills.missed(kills, 150, 54) == []
    for place, words in (
        ("TRL: log", ["kills of TRL", "kills, at least 200"]),
        ("simulator: checkpoint", ["kills in checkpoint"]),
        ("simulator: extend", ["kills in extend"]),
        ("simulator: plan", ["199 kills, at least 200"]),
    ):
        fewer = kills - Counter({place: 1})
        found = run_kills.missed(fewer, 150, 54)
        assert all(any(word in line for line in found) for word in words), found
        assert run_kills.missed(fewer, 100, 49) == [], "a short run cannot reach them"
    assert run_kills.missed(Counter({"TRL: plan": 200}), 150, 54) == [
        f"0 kills in {phase}, at least {least} are needed" for phase, least in run_kills.LEAST.items()
    ]
