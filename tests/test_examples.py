"""The examples run, each in a process of its own, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISES = {
    "core_only.py": "60 steps, 7680 rollouts",
    "custom_strategy.py": "weight of hard prompts",
    "trl_script.py": "4 steps, 256 rollouts",
}


def test_all_are_run() -> None:
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(PROMISES)


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_example(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert PROMISES[name] in done.stdout
    assert not list(tmp_path.iterdir()), "examples leave nothing behind"
