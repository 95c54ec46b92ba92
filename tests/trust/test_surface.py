"""What an attacker could reach: no pickle, no code from text, no network unless asked."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdro.recipes.schema import RecipeError, load_recipe

SOURCE = Path(__file__).parents[2] / "src/gdro"
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "numpy.fromfile",
}
NETWORK = {
    "socket",
    "urllib.request",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "http.client",
}


def aliases(tree: ast.AST) -> dict[str, str]:
    """What names of a file stand for: `from torch import load as l` gives l the name torch.load."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def trees() -> dict[str, ast.AST]:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in files}


def faults(tree: ast.AST) -> list[str]:
    """What a file does that gdro never does: unpickles, runs text or a shell, loads a model's code."""
    found = sorted({module.split(".")[0] for module in imported(tree)} & MODULES)
    names = aliases(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = name_of(call.func, names).removeprefix("builtins.")
        found += [name] if name in CALLS else []
        for option in call.keywords:
            off = isinstance(option.value, ast.Constant) and not option.value.value
            if option.arg == "trust_remote_code" or (
                option.arg in ("shell", "allow_pickle") and not off
            ):
                found.append(option.arg)
    return found


def test_nothing_reads_pickles_or_runs_text() -> None:
    # A dry run does as the user's own configuration says; nothing else loads a model's code.
    allowed = {"tasks/tiny_model.py": ["trust_remote_code"]}
    for name, tree in trees().items():
        found = faults(tree)
        assert not found or set(found) == set(allowed.get(name, ())), f"{name}: {found}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import pickle", "pickle"),
        ("from cloudpickle import loads", "cloudpickle"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("from torch import load\nload('x')", "torch.load"),
        ("from os import system as run\nrun('ls')", "os.system"),
        ("import yaml as y\ny.load('x')", "yaml.load"),
        ("import numpy as np\nnp.fromfile('x')", "numpy.fromfile"),
        ("from builtins import eval as e\ne('1')", "eval"),
        ("run('x', shell=how)\nrun('y')", "shell"),
        ("AutoModel.from_pretrained(p, trust_remote_code=True)", "trust_remote_code"),
    ],
)
def test_each_fault_is_found(text: str, fault: str) -> None:
    assert faults(ast.parse(text)) == [fault]
    assert faults(ast.parse("import numpy as np\nnp.load(p, allow_pickle=False)\nmodel.eval()")) == []


@pytest.mark.parametrize("option", ["allow_pickle", "shell"])
def test_an_option_is_found_though_a_later_call_turns_it_off(option: str) -> None:
    assert faults(ast.parse(f"act(x, {option}=True)\nact(y, {option}=False)")) == [option]


def test_modules_that_open_connections_are_those_that_are_asked_to() -> None:
    """Servers of models are reached by a client library, datasets by that of their hub."""
    found = {name for name, tree in trees().items() if imported(tree) & NETWORK}
    assert found <= {"dry_run/launch.py", "dry_run/watch.py"}, found


NO_NETWORK = """
import importlib, pkgutil, sys


def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        raise SystemExit(f"{event} {arguments}")


sys.addaudithook(refuse)
import gdro

seen = 0
for module in pkgutil.walk_packages(gdro.__path__, "gdro."):
    if "verl" in module.name:
        continue
    importlib.import_module(module.name)
    seen += 1
print("imported", seen)

from gdro.cli import main

for command in COMMANDS:
    assert main(command) == 0, command
    print("ran", command[0])
try:
    importlib.import_module("socket").create_connection(("localhost", 9))
except SystemExit:
    print("the hook works")
"""
TRAIN = [
    *("trl.max_steps=2", "trl.per_device_train_batch_size=16", "trl.save_steps=1"),
    *("trl.disable_tqdm=true", "task_options={train_size: 40, heldout_size: 8}"),
    *("evaluation.samples=1", "evaluation.base_samples=1", "evaluation.k=1"),
]


def test_importing_everything_and_running_open_no_connection(tmp_path: Path) -> None:
    run, made_up = str(tmp_path / "run"), str(tmp_path / "made-up")
    small = ["num_steps=3", "batch=16", "population.num_prompts=200", "population.num_heldout=10"]
    default = load_recipe("quickstart").arms["gdro"].strategy
    commands = [
        ["simulate", "--strategy", "uniform", "--output", made_up, *small],
        ["train", "--recipe", "quickstart", "--strategy", default, "--output", run, *TRAIN],
        ["report", run, "-o", str(tmp_path / "report.html")],
    ]
    # Nothing here may be offline because a variable says so.
    env = {k: v for k, v in os.environ.items() if "OFFLINE" not in k and "TELEMETRY" not in k}
    done = subprocess.run(
        [sys.executable, "-c", f"COMMANDS = {commands!r}\n{NO_NETWORK}"],
        capture_output=True,
        text=True,
        timeout=300,
        env=env,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    said = [line.split() for line in done.stdout.splitlines()]
    assert next(int(line[1]) for line in said if line[:1] == ["imported"]) > 100
    assert [line[1] for line in said if line[:1] == ["ran"]] == ["simulate", "train", "report"]
    assert said[-1] == ["the", "hook", "works"]
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch {flag}']",
        "name: !!python/name:os.system",
        "name: !!python/object/new:subprocess.Popen [['touch', '{flag}']]",
        "name: [",
        "- a list",
        "{{1: 2, 3: 4}}",
        "name: 'x'\nname: 'y'",
        "\x00",
    ],
)
def test_recipes_are_data_alone(tmp_path: Path, text: str) -> None:
    flag, path = tmp_path / "flag", tmp_path / "recipe.yaml"
    path.write_text(text.format(flag=flag))
    with pytest.raises(RecipeError, match="recipe"):
        load_recipe(str(path))
    assert not flag.exists()
