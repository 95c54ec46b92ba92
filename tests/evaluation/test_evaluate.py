"""A real model evaluated, killed, and evaluated again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from gdro.cli import main
from gdro.evaluation import EvaluationError, Options, evaluate, read_records, scores
from gdro.evaluation.records import SAMPLES
from gdro.evaluation.run import _sampled, judged
from gdro.evaluation.transformers import TransformersGenerator
from gdro.tasks import chains

OPTIONS = Options(samples=4, max_new_tokens=6, batch_size=16, style="plain")


@pytest.fixture(scope="module")
def task() -> Any:
    return chains.load(train_size=8, heldout_size=30)


@pytest.fixture(scope="module")
def generator(task) -> TransformersGenerator:
    return TransformersGenerator(task.model, task.tokenizer, "warm start")


@pytest.fixture(scope="module")
def sets(task) -> dict[str, Dataset]:
    rows = [{**row, "source": "chains", "level": row["length"]} for row in task.heldout]
    return {"first": Dataset.from_list(rows[:20]), "second": Dataset.from_list(rows[20:])}


class Killed(Exception):
    """In the place of SIGKILL."""


class Mortal:
    """The generator, which dies after some batches."""

    def __init__(self, whole: TransformersGenerator, batches: int) -> None:
        self.name, self._whole, self._left = whole.name, whole, batches

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        if not self._left:
            raise Killed
        self._left -= 1
        return self._whole.generate(prompts, options, seed)


def test_figures_of_a_real_model(generator, sets, task, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    records = evaluate(generator, sets, tmp_path, OPTIONS)
    assert torch.equal(state, torch.random.get_rng_state())
    assert [r.prompt_id for r in records] == task.heldout["prompt_id"][:]
    assert read_records(tmp_path) == records
    for found, row in zip(records, task.heldout, strict=True):
        assert found.right == [text.strip() == row["answer"] for text in found.texts]
        assert all(1 <= number <= 6 for number in found.tokens)
    found = scores(records, [1, 4])
    assert 0.2 < found["sets"]["all"]["mean@4"] < 0.6  # the warm start solves two fifths
    assert found["groups"]["level"]["by"]["first: 1"]["mean@4"] > 0.5


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_kill_changes_nothing(batches: int, generator, sets, tmp_path: Path) -> None:
    whole = evaluate(generator, sets, tmp_path / "whole", OPTIONS)
    with pytest.raises(Killed):
        evaluate(Mortal(generator, batches), sets, tmp_path / "cut", OPTIONS)
    path = tmp_path / "cut" / SAMPLES
    path.write_text(path.read_text()[:-40])  # the kill fell into a line
    assert evaluate(generator, sets, tmp_path / "cut", OPTIONS) == whole
    assert evaluate(Mortal(generator, 0), sets, tmp_path / "cut", OPTIONS) == whole  # nothing is left


def test_other_options_are_another_evaluation(generator, sets, tmp_path: Path) -> None:
    evaluate(generator, sets, tmp_path, OPTIONS)
    with pytest.raises(EvaluationError, match=r"temperature=1.0, not 0.5; give another --output"):
        evaluate(generator, sets, tmp_path, replace(OPTIONS, temperature=0.5))
    with pytest.raises(EvaluationError, match="holds an evaluation with sets="):
        evaluate(generator, {"first": sets["first"]}, tmp_path, OPTIONS)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("samples", 0),
        ("max_new_tokens", 0),
        ("batch_size", 0),
        ("temperature", -0.5),
        ("temperature", float("inf")),
        ("temperature", 0),
        ("top_p", 1.5),
        ("seed", -1),
    ],
)
def test_an_option_out_of_range_is_named(
    option: str, value: float, generator, sets, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=f"{option} is {value}"):
        evaluate(generator, sets, tmp_path / "absent", replace(OPTIONS, **{option: value}))
    assert not (tmp_path / "absent").exists()


def test_each_set_has_its_judge() -> None:
    assert judged("math-500", [{"answer": "1/2"}] * 2, [r"\boxed{0.5}", "2"]) == [True, False]
    assert judged("gpqa-diamond", [{"answer": "B"}] * 2, ["Answer: (B)", "A"]) == [True, False]


def test_letters_are_votes() -> None:
    texts = ["Answer: (B)", r"\boxed{B}", "so B", "C"]

    class Fixed:
        name = "fixed"

        def generate(self, prompts, options, seed) -> list[tuple[str, int]]:
            return [(text, 1) for text in texts]

    row = {"prompt": "?", "answer": "B", "prompt_id": "p", "source": "gpqa-diamond"}
    (record,) = _sampled(Fixed(), "gpqa-diamond", [row], OPTIONS, 0)
    assert record.answers == ["B", "B", "B", "C"] and record.right == [True, True, True, False]


def test_the_command(task, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tmp_path / "model", tmp_path / "chains.jsonl"
    task.model.save_pretrained(model)
    task.tokenizer.save_pretrained(model)
    data.write_text(
        "".join(json.dumps({"prompt": r["prompt"], "answer": r["answer"]}) + "\n" for r in task.heldout)
    )
    common = [
        "eval",
        "--model",
        str(model),
        "--data",
        str(data),
        "--samples",
        "2",
        "--max-new-tokens",
        "6",
    ]
    common += ["--style", "plain", "--instruction", "", "--limit", "12"]
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert main([*common, "--output", a]) == 0
    assert main([*common, "--output", b, "--seed", "1", "--base", a, "--k", "2"]) == 0
    said = capsys.readouterr().out
    assert "chains mean@2" in said and "(base p < .02)" in said and (tmp_path / "b/eval.md").exists()
    assert json.loads((tmp_path / "b/eval.json").read_text())["sets"]["all"]["num_prompts"] == 12
    assert main(["eval", "compare", a, b, "--k", "2"]) == 0
    assert "difference, points" in capsys.readouterr().out
    assert main(["eval", "table", a, b, "--k", "2"]) == 0
    heads, _, one, two, _ = capsys.readouterr().out.splitlines()
    assert heads == "| model | chains mean@2 | pass@2 | 95% interval |" and a in one and "%)" in two
    # Without --k: the largest that both have; with one that is absent: which there are.
    assert main(["eval", "compare", a, b]) == 0 and "pass@2" in capsys.readouterr().out
    assert main(["eval", "table", a, b]) == 0 and "| pass@2 |" in capsys.readouterr().out
    assert main(["eval", "table", b, a, "--k", "1"]) == 2
    assert "not all have pass@1; they have pass@2: pass --k K" in capsys.readouterr().err
    for wrong in (
        ["eval"],
        ["eval", "compare", a],
        ["eval", "compare", a, str(tmp_path)],
        ["eval", "table"],
        ["eval", "table", a, str(tmp_path)],
        ["eval", "table", a, b, "--k", "8"],
        [*common, "--limit", "0"],
        [*common, "--recipe", "quickstart"],
        [*common, "--data", str(data)],
    ):
        assert main(wrong) == 2
        assert "gdro: " in capsys.readouterr().err
