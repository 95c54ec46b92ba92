"""Names are nouns and docstrings say what a thing is: `python tests/test_language.py FOLDER...`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/gdro"
# They say that something happened to a thing, not what it is.
NO_NAMES = {"told", "found", "made", "kept", "moved"}
NO_MODULES = {"pool", "rows", "series", "record", "saved", "kept", "seam", "recall", "support"}
EMPTY = re.compile(r"^(Of the .{0,40}|True|False|None|Both|Its? \w+|The same)\.$")
ARGUMENT = re.compile(r"^\s+\**\w+: (Of (the|each|a|its)\b.*|From `\w+`\.)$")


def bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names that the code gives: functions, classes, arguments and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name.strip("_")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.strip("_")
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg.strip("_")


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield node.body[0].lineno, text


def faults(path: Path) -> list[str]:
    """What of a module reads badly, each with its line."""
    text = path.read_text()
    tree = ast.parse(text)
    wrong = [f"{line}: {name!r} is no noun" for line, name in bound(tree) if name in NO_NAMES]
    if path.stem in NO_MODULES and path.parent.name != "data":
        wrong.append(f"1: {path.stem!r} says too little of a module")
    for start, doc in docstrings(tree):
        for number, line in enumerate(doc.splitlines(), start):
            if EMPTY.match(line.strip()) or ARGUMENT.match(line):
                wrong.append(f"{number}: {line.strip()!r} says too little")
    skips = [n for n, line in enumerate(text.splitlines(), 1) if "fmt: skip" in line]
    wrong += [
        f"{n}: the formatter wins"
        for n in skips
        if "# fmt: skip  # a table" not in text.splitlines()[n - 1]
    ]
    return [f"{path.relative_to(SOURCE)}:{item}" for item in wrong]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_names_and_docstrings(path: Path) -> None:
    assert faults(path) == []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    places.pop("GDROTrainer")  # one an adapter
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


if __name__ == "__main__":
    folders = [Path(name).resolve() for name in sys.argv[1:]] or [SOURCE]
    modules = [p for f in folders for p in (sorted(f.rglob("*.py")) if f.is_dir() else [f])]
    print("\n".join(item for path in modules for item in faults(path)))
