"""Files of ours that are cut, or hold something else, are one clear error of what reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gdro.cli import main


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("simulated") / "run"
    small = ["population.num_prompts=64", "batch=8", "num_steps=2", "--strategy", "grpo"]
    assert main(["simulate", "--output", str(made), *small]) == 0
    return made


@pytest.mark.parametrize("text", ["cut", "[]"])
@pytest.mark.parametrize("name", ["summary.json", "grpo/eval.json", "grpo/gdro/run.json"])
def test_a_run_with_a_damaged_file(
    name: str, text: str, simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(simulated, run)
    (run / name).write_text(text)
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert name in error and "move it away" in error


@pytest.mark.parametrize("text", ["cut\n", "[1]\n", '{"a": 1}\n'])
def test_an_evaluation_with_a_damaged_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples.jsonl").write_text(text)
    assert main(["eval", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "samples.jsonl, line 1" in capsys.readouterr().err


def test_an_evaluation_that_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "samples.jsonl").write_text("")
    assert main(["eval", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "has no samples yet" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["cut", "[]", "{}"])
def test_a_table_of_a_damaged_evaluation(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "eval.json").write_text(text)
    assert main(["eval", "table", str(tmp_path)]) == 2
    assert "eval.json" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_one_error(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt_id": "a", "rewards": [1, 0]}\n')
    for place in ("/proc/x.html", "/proc/x/y.html"):
        assert main(["diagnose", str(log), "-o", place, "--strategy", "uniform"]) == 2
        said = capsys.readouterr().err
        assert place in said and ".part" not in said and said.count("\n") == 1
