"""The examples run, each in a process of its own, and print what they promise; the notebook draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISES = {
    "core_only.py": "60 steps, 7680 rollouts",
    "custom_strategy.py": "weight of hard prompts",
    "sharded_tracker.py": "sec, 64 ranks: 25 equal plans",
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


@pytest.mark.weekly
def test_the_notebook_runs_and_ends_with_a_picture(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "two_lines.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    client = NotebookClient(notebook, timeout=170, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert "40 steps, 2560 rollouts, planned 2560" in text
    assert text.count("gdro: strategy") == 1
    assert "image/png" in outputs[-1]["data"]
    assert not list(tmp_path.iterdir()), "examples leave nothing behind"
