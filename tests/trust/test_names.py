"""Names and paths inside of recipes, studies and simulations stay in the folders they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro.cli import main
from gdro.common.files import OF_RUNS, check_name, write_json
from gdro.errors import GdroError
from gdro.recipes.checks import check_arms
from gdro.recipes.run import run, trl_config
from gdro.recipes.schema import RecipeError, load_recipe
from gdro.simulate.run import Simulation
from gdro.study import load_study
from gdro.study.config import parse_seeds

LEADING_OUT = [
    "",
    ".",
    "..",
    "../out",
    "/tmp/out",
    "a/b",
    "a/../../out",
    "..\\out",
    "C:\\out",
    "\\\\host\\out",
    "~/../x/",
    ".hidden",
    " a",
    "a ",
    "a\nb",
    "a\0b",
    "a\x1b[31m",
    "a\u2028b",
    "a\u202eb",
    "\u2025/x",
    "\t",
    "x" * 121,
    "ü" * 61,
    "a\ud800",
]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_leaves_the_folder_is_refused_everywhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(GdroError, match="it names a folder"):
        check_name(name, "name")
    recipe = load_recipe("quickstart")
    recipe.arms = {name: recipe.arms["grpo"]}
    with pytest.raises(RecipeError, match="folder"):
        check_arms(recipe)
    arms = {name: Simulation().arms.get("uniform")}
    with pytest.raises(GdroError, match="folder"):
        Simulation(arms=arms).check()  # pyright: ignore[reportArgumentType]
    if name.isascii() and name.isprintable() and len(name) < 100:
        quoted = f'"{name}"'.replace("\\", "\\\\")
        for command in (["train", f"name={quoted}"], ["train", "--dry-run", f"name={quoted}"]):
            assert main(command) == 2
    else:
        (tmp_path / "r.yaml").write_text(
            "base: quickstart\nname: " + repr(name).replace("'", '"') + "\n"
        )
        with pytest.raises(RecipeError):
            load_recipe(str(tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    "name", ["a", "grpo", "rollout-gdro", "a b", "a.b", "ü", "数", "gdro", "x" * 120, "-"]
)
def test_other_names_are_fine(name: str) -> None:
    check_name(name, "name", taken=OF_RUNS)


@pytest.mark.parametrize("name", sorted(OF_RUNS))
def test_an_arm_does_not_take_the_place_of_a_runs_file(name: str) -> None:
    recipe = load_recipe("quickstart")
    recipe.arms = {name: recipe.arms["grpo"]}
    with pytest.raises(RecipeError, match="a file of every run; choose another"):
        check_arms(recipe)


@pytest.mark.parametrize("arm", ["..", ".", "x" * 121])
@pytest.mark.parametrize("where", ["name", "arm"])
def test_names_of_a_study(arm: str, where: str, tmp_path: Path) -> None:
    name, arm = (arm, "b") if where == "name" else ("tiny", arm)
    (tmp_path / "s.yaml").write_text(
        f"name: '{name}'\ncontrol: a\narms: {{a: {{strategy: grpo}}, '{arm}': {{strategy: gdro}}}}\n"
        "testbeds: {chains: {task: chains, warm_start: chains-a}}\nseeds: 100-101\n"
    )
    with pytest.raises(GdroError, match="it names a folder"):
        load_study(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    "text", ["0-4000000000", "1-99999999999999999999", "../3", "-1", "1e3", "0x10", "٣"]
)
def test_seeds_are_a_few_numbers(text: str) -> None:
    with pytest.raises(GdroError, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("option", ["output_dir", "logging_dir", "resume_from_checkpoint"])
@pytest.mark.parametrize("value", ["/tmp/out", "../out", "", "null"])
def test_a_recipe_cannot_say_where_the_trainer_writes(option: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        f"base: quickstart\nname: r\ntrl: {{{option}: {value or repr('')}}}\n"
    )
    recipe = load_recipe(str(tmp_path / "r.yaml"))
    for use in (lambda: trl_config(recipe, tmp_path), lambda: run(recipe, tmp_path / "out")):
        with pytest.raises(RecipeError, match=f"trl.{option} is given; .* leave it out and pass --"):
            use()
    assert not (tmp_path / "out").exists()


def recipe_with(folder: Path, base: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(f"base: {base}\nname: mine\ntask: t\n")
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    "base",
    [
        "../outside.yaml",
        "{out}/outside.yaml",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "~/x.yaml",
        "link.yaml",
        "linked/outside.yaml",
        "below/../../outside.yaml",
        "notes.txt",
        "recipe.json",
        ".",
        "''",
        "below",
        "loop.yaml",
        "/dev/stdin",
        "/proc/self/environ",
        "fifo.yaml",
        "5",
        "[1, 2]",
        "{{a: 1}}",
        "'a\\0.yaml'",
        '"a\\0.yaml"',
        "https://host/x.yaml",
        "file:///etc/passwd",
        "quickstart.yaml",
        "'${{oc.env:NO_SUCH_VARIABLE}}'",
        "'${{oc.env:HOME}}/x.yaml'",
        "x" * 300 + ".yaml",
        "x" * 5000 + ".yaml",
    ],
)
def test_a_base_is_a_shipped_recipe_or_came_with_this_one(base: str, tmp_path: Path) -> None:
    import os

    mine = recipe_with(tmp_path / "mine", base.format(out=tmp_path))
    (tmp_path / "outside.yaml").write_text("seed: 7\n")
    (tmp_path / "mine/below").mkdir()
    (tmp_path / "mine/notes.txt").write_text("seed: 7\n")
    (tmp_path / "mine/link.yaml").symlink_to(tmp_path / "outside.yaml")
    (tmp_path / "mine/linked").symlink_to(tmp_path)
    (tmp_path / "mine/loop.yaml").symlink_to(tmp_path / "mine/loop.yaml")
    os.mkfifo(tmp_path / "mine/fifo.yaml")
    with pytest.raises(RecipeError, match="base: ") as told:
        load_recipe(str(mine))
    assert "pass base=FILE" in str(told.value) or "NO_SUCH_VARIABLE" in str(told.value)
    assert len(str(told.value)) < 900


def test_bases_that_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = recipe_with(tmp_path / "mine", "below/b.yml")
    (tmp_path / "mine/below").mkdir()
    (tmp_path / "mine/below/b.yml").write_text("base: ../c.yaml\nseed: 3\n")
    (tmp_path / "mine/c.yaml").write_text("base: quickstart\nseed: 2\n")
    recipe = load_recipe(str(mine))
    assert (recipe.seed, recipe.task, "gdro" in recipe.arms) == (3, "t", True)
    monkeypatch.chdir(tmp_path / "mine")
    assert load_recipe("mine.yaml").seed == 3
    # The caller may take any: it is the caller's machine.
    (tmp_path / "outside.yaml").write_text("base: further.yaml\nseed: 7\n")
    (tmp_path / "further.yaml").write_text("description: d\n")
    for base in ("../outside.yaml", str(tmp_path / "outside.yaml")):
        recipe = load_recipe("mine.yaml", [f"base={base}", "trl.beta=1"])
        assert (recipe.seed, recipe.description, recipe.trl["beta"]) == (7, "d", 1)
    assert load_recipe("mine.yaml", ["base=quickstart"]).task == "t"
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe("mine.yaml", ["base=absent.yaml"])


@pytest.mark.parametrize("model", [".", "..", "../", "./", "/"])
def test_an_evaluation_of_a_folder_near_by_stays_in_its_own(model: str) -> None:
    from gdro.cli.evaluate import folder_of

    folder = folder_of(model)
    assert folder.parent == Path("runs/eval") and folder.name not in ("", ".", "..")
    assert folder_of("runs/mine/") == Path("runs/eval/runs--mine")
    assert folder_of("Qwen/Qwen3-8B") == Path("runs/eval/Qwen--Qwen3-8B")


def test_a_planted_run_does_not_name_what_is_read(tmp_path: Path) -> None:
    """Arms of the folder's recipe.json are compared, and name no file."""
    write_json(tmp_path / "recipe.json", {"arms": {"../../x": {"strategy": "uniform"}}})
    with pytest.raises(RecipeError, match="another recipe"):
        run(load_recipe("quickstart"), tmp_path, resume=True)
