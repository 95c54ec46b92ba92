"""Arms of a run start from one base and one set of rows, wherever these lie."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM

from gdro.common.files import write_json
from gdro.recipes.origin import origin_of
from gdro.recipes.run import run
from gdro.recipes.schema import Arm, Evaluation, Recipe, RecipeError, load_recipe
from gdro.tasks import gsm8k
from gdro.tasks.tiny_model import byte_tokenizer, config_and_tokenizer, write_tiny

QUICK = {
    "max_steps": 1,
    "num_generations": 2,
    "per_device_train_batch_size": 4,
    "max_completion_length": 4,
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "report_to": "none",
    "beta": 0.0,
    "save_strategy": "no",
}


def recipe_of(name: str, options: dict[str, Any], *arms: str) -> Recipe:
    recipe = load_recipe(name, ["evaluation.samples=0", "evaluation.every=0"])
    recipe.task_options, recipe.trl, recipe.adapter.generation = options, dict(QUICK), "trl"
    recipe.arms = {arm: Arm(arm) for arm in arms}
    return recipe


def options(folder: Path, base: Path | None = None) -> dict[str, Any]:
    short = dict.fromkeys(("longest_solution", "longest_prompt", "longest_taught"), 200)
    return {
        "model": "tiny",
        "base": str(base or folder / "base"),
        "files": {name: str(folder / f"{name}.jsonl") for name in ("train", "test")},
        "sizes": {"pool": 8, "reserved": 12, "heldout": 4, **short},
    }


def problems(path: Path, num: int, plus: int = 0) -> None:
    rows = [{"question": f"{a} + {a}?", "answer": f"#### {2 * a + plus}"} for a in range(num)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def other_weights(folder: Path) -> None:
    """A base that is made again on a GPU: the same options, and weights that differ in a few bits."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a base, and a run with one finished arm."""
    folder = tmp_path_factory.mktemp("made")
    problems(folder / "train.jsonl", 40)
    problems(folder / "test.jsonl", 12)
    write_tiny(folder / "tiny", AutoConfig.for_model(**gsm8k.ARCHITECTURE), byte_tokenizer())
    given = options(folder)
    gsm8k.make_base(str(folder / "tiny"), folder / "base", given["files"], given["sizes"])
    facts = json.loads((folder / "base" / gsm8k.MADE).read_text())
    facts["of"]["model"] = "tiny"
    facts.pop("problems", None)  # as of bases that do not say what they were taught
    (folder / "base" / gsm8k.MADE).write_text(json.dumps(facts))
    run(recipe_of("gsm8k_smollm2", given, "uniform"), folder / "run")
    return folder


@pytest.fixture
def there(made: Path, tmp_path: Path) -> Path:
    """The same on another machine: other paths, the same content."""
    return Path(shutil.copytree(made, tmp_path / "there"))


def asked(folder: Path, *arms: str, **changed: Any) -> Recipe:
    return recipe_of("gsm8k_smollm2", {**options(folder), **changed}, *arms)


def test_a_base_that_was_made_again_trains_no_second_arm(there: Path) -> None:
    other_weights(there / "base")
    kept = (there / "run/recipe.json").read_text()
    for arms in (("uniform", "gdro"), ("uniform",)):  # the last has another path and nothing to train
        with pytest.raises(RecipeError, match=r"other weights .*task_options\.base=FOLDER.*--output"):
            run(asked(there, *arms), there / "run", resume=True)
    assert not (there / "run/gdro").exists() and (there / "run/recipe.json").read_text() == kept


def test_the_same_path_with_another_base_is_refused(there: Path) -> None:
    run(asked(there, "uniform"), there / "new")
    other_weights(there / "base")
    with pytest.raises(RecipeError, match="other weights"):
        run(asked(there, "uniform", "gdro"), there / "new", resume=True)
    shutil.rmtree(there / "new/uniform")  # nothing is left of it: a new run starts from the new base
    run(asked(there, "uniform"), there / "new")


def test_the_same_base_and_rows_go_on_under_other_paths(there: Path) -> None:
    (there / "train.jsonl").rename(there / "renamed.jsonl")
    files = {"train": str(there / "renamed.jsonl"), "test": str(there / "test.jsonl")}
    recipe = asked(there, "uniform", "gdro", files=files)
    assert list(run(recipe, there / "run", resume=True)["arms"]) == ["uniform", "gdro"]
    kept = json.loads((there / "run/recipe.json").read_text())
    assert kept["task_options"]["files"] == files
    with pytest.raises(RecipeError, match=r"another recipe: task_options\.base is .*/none"):
        run(asked(there, "uniform", base=str(there / "none")), there / "run", resume=True)
    assert not (there / "none").exists()  # no base is taught for that
    with pytest.raises(RecipeError, match=r"another recipe: task_options\.sizes\.pool"):
        run(
            asked(there, "uniform", sizes=options(there)["sizes"] | {"pool": 6}),
            there / "run",
            resume=True,
        )


@pytest.mark.parametrize(("name", "num", "said"), [("train", 40, "training"), ("test", 12, "held-out")])
def test_other_rows_are_refused(name: str, num: int, said: str, there: Path) -> None:
    problems(there / f"{name}.jsonl", num, plus=1)
    with pytest.raises(RecipeError, match=rf"other {said} rows .*task_options\.files.*--output"):
        run(asked(there, "uniform", "gdro"), there / "run", resume=True)


def test_a_folder_of_an_earlier_release_goes_on(there: Path, made: Path) -> None:
    (there / "run/origin.json").unlink()
    with pytest.raises(RecipeError, match=r"another recipe: task_options\.base"):
        run(asked(there, "uniform"), there / "run", resume=True)
    run(asked(made, "uniform", "gdro"), there / "run", resume=True)
    assert (there / "run/gdro/eval.json").exists() and not (there / "run/origin.json").exists()


def evaluated(folder: Path, *arms: str) -> Recipe:
    recipe = asked(folder, *arms)
    recipe.evaluation = Evaluation(samples=2, k=2, base_samples=2)
    return recipe


@pytest.fixture
def killed(there: Path) -> Path:
    """A run that was killed after the base's evaluation, before its first checkpoint."""
    run(evaluated(there, "uniform"), there / "new")
    shutil.rmtree(there / "new/uniform")
    base = json.loads((there / "new/base.json").read_text())
    write_json(there / "new/base.json", {**base, "rate_N": [0.25] * 4})
    return there / "new"


def rates(folder: Path) -> list[float]:
    return json.loads((folder / "base.json").read_text())["rate_N"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_same_base_is_not_evaluated_again(elsewhere: bool, there: Path, killed: Path) -> None:
    before = (killed / "origin.json").read_text()
    if elsewhere:  # as in a sitting, which evaluates once for the folders of all runs
        (killed / "origin.json").unlink()
    run(evaluated(there, "uniform"), killed, resume=True)
    assert rates(killed) == [0.25] * 4
    assert (killed / "origin.json").read_text() == before


@pytest.mark.parametrize("earlier_release", [False, True])
def test_without_an_arm_another_base_starts_anew(
    earlier_release: bool, there: Path, killed: Path
) -> None:
    """No arm started from the other one; slices would be of its pass rates."""
    before = (killed / "origin.json").read_text()
    if earlier_release:
        (killed / "origin.json").unlink()
        write_json(killed / "base.json", {"rate_N": rates(killed)})
    other_weights(there / "base")
    run(evaluated(there, "uniform"), killed, resume=True)
    assert (killed / "origin.json").read_text() != before
    assert rates(killed) != [0.25] * 4
    other_weights(there / "base")
    with pytest.raises(RecipeError, match="other weights"):
        run(evaluated(there, "uniform", "gdro"), killed, resume=True)


def test_arms_that_begin_again_without_a_recipe_are_compared_later(there: Path, killed: Path) -> None:
    (killed / "recipe.json").unlink()
    (killed / "uniform/checkpoint-1").mkdir(parents=True)
    run(evaluated(there, "uniform"), killed)
    other_weights(there / "base")
    with pytest.raises(RecipeError, match="other weights"):
        run(evaluated(there, "uniform", "gdro"), killed, resume=True)


def test_processes_agree_on_what_a_folder_holds(there: Path) -> None:
    """Though one of them is slower than another that removes files, and has other paths on its disk."""
    (there / "elsewhere").mkdir()
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run(
        [sys.executable, *command, str(Path(__file__).with_name("begin_ranks.py")), str(there)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in there.glob("reached-*")) == [
        f"reached-{state}-{rank}" for state in ("arm", "no-arm") for rank in (0, 1)
    ]


def test_models_and_files_of_other_tasks(tmp_path: Path) -> None:
    """`gdro.tasks.math`: the model is the base, and data are lists of sources."""
    config, tokenizer = config_and_tokenizer("", {"model_type": "qwen3"}, "")
    write_tiny(tmp_path / "model", config, tokenizer)
    rows = [{"problem": f"{n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def asked(model: str, data: str, *arms: str, **more: Any) -> Recipe:
        source = {"set": str(tmp_path / data), **more}
        given = {"model": str(tmp_path / model), "data": [source], "heldout": 4}
        return recipe_of("smollm2_math", given, *arms)

    run(asked("model", "rows.jsonl", "uniform"), tmp_path / "run")
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    shutil.copy(tmp_path / "rows.jsonl", tmp_path / "copied.jsonl")
    with pytest.raises(RecipeError, match=r"another recipe: task_options\.data"):
        run(asked("copy", "copied.jsonl", "uniform", limit=9), tmp_path / "run", resume=True)
    run(asked("copy", "copied.jsonl", "uniform", "gdro"), tmp_path / "run", resume=True)
    other_weights(tmp_path / "copy")
    with pytest.raises(RecipeError, match=r"other weights .*with task_options\.model"):
        run(asked("copy", "rows.jsonl", "uniform"), tmp_path / "run", resume=True)


def test_columns_templates_and_configurations_count_and_names_do_not(made: Path) -> None:
    task = gsm8k.load(**{**options(made), "model": "tiny"})
    whole = origin_of(task)

    def changed(column: str, value: str) -> dict[str, str | None]:
        rows = [{**row, column: value} for row in task.train.to_list()]
        return origin_of(replace(task, train=Dataset.from_list(rows)))

    assert changed("tests", "a") != changed("tests", "b")
    assert changed("source", "a") == changed("source", "b") == whole
    task.model.config._name_or_path = "elsewhere"
    assert origin_of(task) == whole
    task.model.config.rms_norm_eps *= 2
    assert origin_of(task)["weights"] != whole["weights"]
    task.model.config.rms_norm_eps /= 2
    assert origin_of(task) == whole
    task.tokenizer.chat_template = "{{ messages }}"
    assert origin_of(task)["weights"] != whole["weights"]
