"""docs/recipes.md: its recipe runs dry as it stands, and its tables are the keys that there are."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from gdro import Difficulty
from gdro.cli import main
from gdro.data.mix import Source
from gdro.recipes.run import load_task
from gdro.recipes.schema import Adapter, Arm, Evaluation, Recipe, list_recipes, load_recipe
from gdro.tasks import chains, gsm8k, math, smollm2
from gdro.tasks.tiny_model import config_and_tokenizer, write_tiny

PAGE = (Path(__file__).parents[2] / "docs/recipes.md").read_text()


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0]


def keys(heading: str) -> list[str]:
    """First cells of the table below a heading."""
    section = re.split(r"\n##+ ", PAGE.split(f" {heading}\n", 1)[1])[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def taken(task) -> Iterable[str]:
    return set(inspect.signature(task.load).parameters) - {"seed"}


@pytest.mark.parametrize(
    ("heading", "there"),
    [
        *(
            (f"`{c.__name__}`", [f.name for f in fields(c)])
            for c in (Recipe, Arm, Adapter, Evaluation, Difficulty)
        ),
        ("A source", [f.name for f in fields(Source)]),
        *((f"`{t.__name__}`", sorted(taken(t))) for t in (math, chains, smollm2, gsm8k)),
        ("Shipped", list_recipes()),
    ],
)
def test_the_tables_are_the_keys_that_there_are(heading: str, there: list[str]) -> None:
    assert sorted(keys(heading)) == sorted(there)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page's reader has: a model, and problems."""
    config, tokenizer = config_and_tokenizer("", {"model_type": "qwen3"}, "")
    write_tiny(tmp_path / "my-model", config, tokenizer)
    rows = [{"problem": f"{n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(48)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(block("yaml"))
    (tmp_path / "mytask.py").write_text(block("python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_recipe_of_the_page_runs_dry(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "mine.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 arms" in said and "100 steps of 16 prompts x 8" in said


def test_the_task_of_the_page_loads(here: Path) -> None:
    recipe = load_recipe("mine.yaml", ["task=mytask"])
    recipe.task_options = {"model": "my-model"}
    task = load_task(recipe)
    assert (len(task.train), len(task.heldout)) == (32, 8)
    assert task.reward_funcs[0](completions=["is 4", "5"], answer=["4", "4"]) == [1.0, 0.0]
