"""The rows of `make compat` are what pyproject.toml says."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

sys.path.insert(0, str(Path(__file__).parent))

import compat

PROJECT = tomllib.loads((compat.ROOT / "pyproject.toml").read_text())["project"]
# One build for the CPU is used everywhere; docs/reliability.md says so.
ONE_BUILD = {"torch"}


def bounds() -> dict[str, SpecifierSet]:
    """Versions that the core and the extras of both trainers allow, by package."""
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *extras["trl"], *extras["verl"]]
    return {item.name: item.specifier for item in map(Requirement, texts) if item.name != "gdro"}


def least(allowed: SpecifierSet) -> str:
    (found,) = (item.version for item in allowed if item.operator == ">=")
    return found


def test_the_oldest_rows_pin_the_lower_bounds() -> None:
    checked = set()
    for name, row in compat.ROWS.items():
        for pin in map(Requirement, row.pins):
            allowed = bounds().get(pin.name)
            if allowed is None or pin.name in ONE_BUILD or row.newest:
                continue
            (exact,) = pin.specifier
            assert exact.operator == "==", f"{name}: {pin}"
            assert f"{exact.version}.".startswith(f"{least(allowed)}."), f"{name}: {pin}, {allowed}"
            checked.add((name, pin.name))
    assert checked >= {("numpy-oldest", "numpy"), ("trl-oldest", "trl")}


def test_the_newest_rows_leave_the_upper_bounds_to_the_package() -> None:
    newest = [row for row in compat.ROWS.values() if row.newest]
    assert len(newest) == 5
    for pin in (pin for row in newest for pin in map(Requirement, row.pins)):
        if pin.name not in ONE_BUILD:
            assert {item.operator for item in pin.specifier} <= {"<"}, f"{pin} freezes the newest row"
            assert set(pin.specifier) <= set(bounds().get(pin.name, SpecifierSet())), pin


def test_each_python_that_is_claimed_has_a_row() -> None:
    claimed = [c.rsplit(" ", 1)[-1] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert {f"python{version}" for version in claimed} == {row.python for row in compat.ROWS.values()}
    assert least(SpecifierSet(PROJECT["requires-python"])) == min(claimed)


def test_only_what_moves_is_resolved_again(tmp_path: Path) -> None:
    for name, row in compat.ROWS.items():
        folder = tmp_path / name
        folder.mkdir()
        assert compat.stale(row, folder)
        (folder / "ready").write_text(compat.wanted(row))
        assert compat.stale(row, folder) == row.newest, "what is pinned whole stays as it is"
        moved = replace(row, pins=(*row.pins, "scipy==1.15.0"), newest=False)
        assert compat.stale(moved, folder), "pins that change are installed"
