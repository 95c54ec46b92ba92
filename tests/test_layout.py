"""Few modules and folders, in few layers, and every import leads down: `python tests/test_layout.py`.

A room is a module or a folder of `src/gdro`; its arrows are what it imports, inside functions too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/gdro"
# From the ground up: a room imports from rows below its own alone.
FLOORS = """
errors
common numerics
problem rewards
types data
checkpoint groups evaluation tasks
difficulty memory
strategy
strategies step
log
controller
integrations report simulate
recipes study
dry_run
cli
"""
FLOOR_OF = {room: floor for floor, row in enumerate(FLOORS.split("\n")) for room in row.split()}
MOST_ROOMS, MOST_FLOORS, MOST_ARROWS, MOST_ROOT_MODULES = 30, 14, 160, 10
SHELLS = {"__init__", "__main__"}  # they gather names, and nothing imports them


def modules() -> dict[str, Path]:
    """Every module by its dotted name below gdro."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports of gdro, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("gdro.") and name != "gdro.__version__":
                name = name.removeprefix("gdro.")
                assert name in known or "." in name, f"{path} imports {name} of the package's own names"
                yield name if name in known else name.rpartition(".")[0]


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """Modules that make each arrow from a room to another."""
    known = modules()
    found: dict[tuple[str, str], list[str]] = {}
    for name, path in known.items():
        for target in imported(path, known):
            ends = name.split(".")[0], target.split(".")[0]
            if ends[0] != ends[1] and ends[0] not in SHELLS and ends[1]:
                found.setdefault(ends, []).append(f"{name} imports {target}")
    return found


def rooms() -> set[str]:
    return {name.split(".")[0] for name in modules()} - SHELLS


def floors() -> int:
    """Rooms on the longest way down."""
    below: dict[str, set[str]] = {room: set() for room in rooms()}
    for upper, lower in arrows():
        below[upper].add(lower)
    depth = cache(lambda room: 1 + max((depth(lower) for lower in below[room]), default=0))
    return max(map(depth, below))


def test_every_room_has_a_floor() -> None:
    assert rooms() == set(FLOOR_OF)


def test_every_arrow_leads_down() -> None:
    wrong = [where for (a, b), where in arrows().items() if FLOOR_OF[a] <= FLOOR_OF[b]]
    assert not wrong


def test_the_house_stays_small() -> None:
    alone = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    assert len(alone) <= MOST_ROOT_MODULES, sorted(alone)
    assert len(rooms()) <= MOST_ROOMS
    assert floors() <= MOST_FLOORS
    assert len(arrows()) <= MOST_ARROWS


@pytest.mark.parametrize(
    "folder", sorted({p.parent for p in SOURCE.rglob("*.py")}), ids=lambda p: p.name
)
def test_every_folder_says_what_belongs_there(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert said is not None and said.split("\n")[0].endswith((".", "`."))


def test_adapters_and_tasks_know_nothing_of_dry_runs() -> None:
    users = {a for a, b in arrows() if b == "dry_run"}
    assert users <= {"cli"}


if __name__ == "__main__":
    lines = sum(len(path.read_text().splitlines()) for path in modules().values())
    print(f"{len(rooms())} rooms, {floors()} floors, {len(arrows())} arrows, {lines} lines")
