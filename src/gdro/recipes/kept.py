"""The recipe that a folder holds figures of, kept beside them, so that no other goes on with them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gdro.files import read_json, write_json
from gdro.recipes import Recipe, RecipeError

KEPT = "recipe.json"
# What changes no figure: another disk, tracker or bar, words, and what only a dry run reads.
_FREE = ("base", "description", "architecture", "trl.save_steps", "trl.save_total_limit",
         "trl.report_to", "trl.run_name", "trl.disable_tqdm")  # fmt: skip


def keep(recipe: Recipe, folder: Path) -> None:
    """Write a recipe, with every key resolved, into its run's folder; arms of before stay listed."""
    plain = _plain(recipe)
    kept = _read(folder) or {}
    write_json(folder / KEPT, {**plain, "arms": {**kept.get("arms", {}), **plain["arms"]}})


def differing(recipe: Recipe, folder: Path, begun: Collection[str]) -> list[str] | None:
    """What a recipe says otherwise than the one that a folder's figures are of.

    Args:
        recipe: The job.
        folder: Of the run.
        begun: Arms that the folder has something of; others may be new, or changed.

    Returns:
        A line each key: its name, its value, and the folder's. None where the folder has no recipe,
        as earlier versions left it.

    Raises:
        RecipeError: The folder's recipe is damaged.
    """
    kept = _read(folder)
    if kept is None:
        return None
    asked = _plain(recipe)
    common = asked["arms"].keys() & kept.get("arms", {}).keys() & set(begun)
    new, old = (
        {**side, "arms": {name: side["arms"][name] for name in common}} for side in (asked, kept)
    )
    default = _flat(dataclasses.asdict(Recipe()))  # of keys that an earlier version did not have
    new, old = default | _flat(new), default | _flat(old)
    return [
        f"{key} is {_said(new, key)}, there {_said(old, key)}"
        for key in sorted(new.keys() | old.keys())
        if new.get(key) != old.get(key) and not any(f"{key}.".startswith(f"{free}.") for free in _FREE)
    ]


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / KEPT
    if not path.exists():
        return None
    return read_json(path, ("arms",), RecipeError)


def _plain(recipe: Recipe) -> dict[str, Any]:
    """As it is read again: a tuple is a list, and whatever JSON has not is its text."""
    return json.loads(json.dumps(dataclasses.asdict(recipe), default=str))


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def _said(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "not given"
