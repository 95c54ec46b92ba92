"""Lines of evaluations: each step's curves once, and seconds of training alone, after a kill too."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gdro.recipes import run as recipes_run
from gdro.recipes.evaluations import LINES, begun, lines_of
from gdro.recipes.run import run

sys.path.insert(0, str(Path(__file__).parent))
from killed import recipe_of

KILLED = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in step 9 of 12, with evaluations every three steps."""
    folder = tmp_path_factory.mktemp("cut")
    killed = subprocess.run([sys.executable, str(KILLED), str(folder), "8"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert [line["step"] for line in lines_of(folder / "grpo" / LINES)] == [3, 6]
    return folder


def test_a_killed_run_goes_on_with_its_curves_and_its_seconds(cut: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(cut, tmp_path / "on"))
    state = json.loads((cut / "grpo/checkpoint-8/trainer_state.json").read_text())
    until_8 = state["stateful_callbacks"]["gdro_seconds"]["seconds"]
    run(recipe_of(), cut, resume=True)
    lines = lines_of(cut / "grpo" / LINES)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert [step for line in lines for step in line["curves"]["step"]] == list(range(1, 13))
    seconds = [line["seconds"] for line in lines]
    assert seconds[0] < seconds[1] < until_8 < seconds[2] < seconds[3]
    found = json.loads((cut / "grpo/eval.json").read_text())
    assert found["seconds"] == seconds[3] and found["step"] == 12
    assert found["tokens_per_second"] == pytest.approx(found["tokens"] / seconds[3])

    # Killed once more, between the last line and the end of the arm.
    (cut / "grpo/eval.json").unlink()
    run(recipe_of(), cut, resume=True)
    again = lines_of(cut / "grpo" / LINES)
    assert again[:3] == lines[:3] and [line["step"] for line in again] == [3, 6, 9, 12]
    same = ("rollouts", "tokens", "successes", "curves")
    assert [again[3][name] for name in same] == [lines[3][name] for name in same]
    assert until_8 < again[3]["seconds"] <= seconds[3]


def test_a_checkpoint_of_an_earlier_release_has_no_seconds(cut: Path, tmp_path: Path) -> None:
    """Those of the last line go on, and nothing is said of tokens a second, after later kills either."""
    folder = Path(shutil.copytree(cut, tmp_path / "old"))
    checkpoint = folder / "grpo/checkpoint-8"
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["gdro_seconds"]
    path.write_text(json.dumps(state))
    begun(folder / "grpo", str(checkpoint))
    before = lines_of(folder / "grpo" / LINES)[-1]["seconds"]
    for _ in range(2):  # from step 8, and from step 12, whose checkpoint has seconds again
        run(recipe_of(), folder, resume=True)
        found = json.loads((folder / "grpo/eval.json").read_text())
        assert found["seconds"] >= before and "tokens_per_second" not in found
        (folder / "grpo/eval.json").unlink()


def test_seconds_leave_out_every_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock on which each evaluation takes a million seconds."""
    evaluated: list[Any] = []

    def slow(*given: Any, **options: Any) -> Any:
        evaluated.append(given)
        return recipes_run_evaluate(*given, **options)

    recipes_run_evaluate = recipes_run.evaluate_model
    clock = SimpleNamespace(
        monotonic=time.monotonic, perf_counter=lambda: time.perf_counter() + 1e6 * len(evaluated)
    )
    monkeypatch.setattr(recipes_run, "evaluate_model", slow)
    monkeypatch.setattr("gdro.recipes.evaluations.time", clock)
    run(recipe_of("trl.max_steps=5", "trl.save_steps=100", "evaluation.every=2"), tmp_path)
    lines = lines_of(tmp_path / "grpo" / LINES)
    assert [line["step"] for line in lines] == [2, 4, 5] and len(evaluated) == 1 + len(lines)
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds) and 0 < seconds[-1] < 1e5
    assert json.loads((tmp_path / "grpo/eval.json").read_text())["seconds"] == seconds[-1]
