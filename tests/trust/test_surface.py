"""What an attacker could reach: no pickle, no code from text, no network unless asked."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gdro.recipes import RecipeError, load_recipe

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
    "np.fromfile",
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


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


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


def test_nothing_reads_pickles_or_runs_text() -> None:
    for name, tree in trees().items():
        assert not {module.split(".")[0] for module in imported(tree)} & MODULES, name
        called = {name_of(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & CALLS, name
        options = {k.arg: k.value for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords}
        for option in ("shell", "allow_pickle"):
            value = options.get(option, ast.Constant(False))
            assert isinstance(value, ast.Constant) and not value.value, f"{name}: {option}"
        # A dry run does as the user's own configuration says; nothing else loads a model's code.
        assert "trust_remote_code" not in options or name == "dry_run/shrink.py", name


def test_modules_that_open_connections_are_those_that_are_asked_to() -> None:
    """Servers of models are reached by a client library, datasets by that of their hub."""
    found = {name for name, tree in trees().items() if imported(tree) & NETWORK}
    assert found <= {"dry_run/launch.py", "dry_run/watch.py"}, found


IMPORT_ALL = """
import importlib, pkgutil, sys


def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        raise SystemExit(f"{event} {arguments} at import")


sys.addaudithook(refuse)
import gdro

seen = 0
for module in pkgutil.walk_packages(gdro.__path__, "gdro."):
    if "verl" in module.name:
        continue
    importlib.import_module(module.name)
    seen += 1
print(seen)
"""


def test_importing_everything_opens_no_connection() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 100


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
