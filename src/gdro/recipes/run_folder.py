"""The recipe of a run, written beside its results, so that no other recipe continues the run.

No secret is written: interpolations stay as they were written, options that hold a secret and passwords
in addresses become `***`. Only the owner may read the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from gdro.common.files import read_json, write_json
from gdro.common.redaction import hidden, without_secrets
from gdro.common.secret_names import is_secret, names_secret
from gdro.recipes.schema import Recipe, RecipeError

KEPT, ORIGIN = "recipe.json", "origin.json"
BASE, EVAL, SUMMARY = "base.json", "eval.json", "summary.json"
# Keys that change no result: another disk, tracker or bar, words, and what only a dry run reads.
_FREE_OF_TRL = ("save_steps", "save_total_limit", "report_to", "run_name", "disable_tqdm")
_FREE = ("base", "description", "architecture", *(f"trl.{name}" for name in _FREE_OF_TRL))
_DIGESTS = "interpolated"
# Options of tasks that say where weights and rows are; what they are is in `origin.json`.
_WEIGHTS, _ROWS, _WITHIN = ("base", "model"), ("file", "files", "data", "heldout"), ("file", "set")


def keep(recipe: Recipe, folder: Path) -> None:
    """Write a recipe, with interpolations as they were written, into its run's folder.

    Arms of earlier calls stay listed. A slow hash of each interpolated text is written too, so that
    another value is noticed, unless it is a secret.
    """
    plain, earlier = _plain(recipe), _read(folder) or {}
    digests = {
        key: _digest(value, os.urandom(16))
        for key, (text, value) in _interpolated(recipe).items()
        if _counts(key) and not names_secret(str(text))
    }
    arms = {**earlier.get("arms", {}), **plain["arms"]}
    write_json(folder / KEPT, {**plain, "arms": arms, _DIGESTS: digests}, private=True)


def differing(recipe: Recipe, folder: Path, begun: Collection[str]) -> list[str] | None:
    """Differences between a recipe and that of a folder in which some arms have begun.

    Returns:
        A line per key: its name, its value, and the folder's; arms that have not begun may differ, and
        paths whose content is known (`other_paths`). None if the folder has no recipe.

    Raises:
        RecipeError: The folder's recipe is damaged.
    """
    there = _read(folder)
    if there is None:
        return None
    lines, places = _lines(recipe, there, begun), _places(recipe, there, folder)
    return [line for key, line in lines.items() if key not in places]


def other_paths(recipe: Recipe, folder: Path) -> list[str]:
    """Differences in where a recipe and that of its folder find weights and rows, a line per key.

    Only of weights and rows whose digests are in the folder's `origin.json`, and of files and folders
    that there are: a base that is not there would be made anew.

    Raises:
        RecipeError: The folder's recipe is damaged.
    """
    there = _read(folder)
    if there is None:
        return []
    lines, places = _lines(recipe, there, ()), _places(recipe, there, folder)
    return [line for key, line in lines.items() if key in places]


def _lines(recipe: Recipe, there: Mapping[str, Any], begun: Collection[str]) -> dict[str, str]:
    """What differs from the recipe of a folder, by key."""
    digests = there.get(_DIGESTS, {})
    asked = _plain(recipe)
    common = asked["arms"].keys() & there.get("arms", {}).keys() & set(begun)
    new, old = (
        _flat({**side, "arms": {name: side["arms"][name] for name in common}, _DIGESTS: {}})
        for side in (asked, there)
    )
    changed = [key for key in sorted(new.keys() | old.keys()) if new.get(key) != old.get(key)]
    lines = {k: f"{k} is {_quoted(new, k)}, there {_quoted(old, k)}" for k in changed if _counts(k)}
    for key, (text, value) in sorted(_interpolated(recipe).items()):
        digest = digests.get(key) if key not in changed and _counts(key) else None
        if digest is not None and digest != _digest(value, bytes.fromhex(digest[:32])):
            lines[key] = f"{key} is {text}, which had another value there"
    return lines


def _places(recipe: Recipe, there: Mapping[str, Any], folder: Path) -> set[str]:
    """Keys of task options that may differ, because a digest stands for what they lead to."""
    if not (folder / ORIGIN).exists():
        return set()
    origin = read_json(folder / ORIGIN, ("weights", "train", "heldout"), RecipeError)
    names = () if origin["weights"] is None else _WEIGHTS
    top = "task_options"
    new, old = _flat({top: _resolved(recipe)[0][top]}), _flat({top: there.get(top, {})})
    return {key for key in new.keys() | old.keys() if _is_place(key, new.get(key), old.get(key), names)}


def _is_place(key: str, new: Any, old: Any, names: Collection[str]) -> bool:
    """Whether two values of a task's option, or their parts, differ in nothing but paths.

    Of a task's own options alone, `names` and those of rows: `judge.model`, for example, is none.
    """
    if isinstance(new, list) and isinstance(old, list):
        pairs = list(zip(cast("list[Any]", new), cast("list[Any]", old), strict=False))
        same = len(pairs) == max(len(new), len(old))
        return same and all(a == b or _is_place(key, a, b, names) for a, b in pairs)
    if isinstance(new, dict) and isinstance(old, dict):
        a, b = cast("dict[str, Any]", new), cast("dict[str, Any]", old)
        parts = ((f"{key}.{name}", a.get(name), b.get(name)) for name in a.keys() | b.keys())
        return all(x == y or _is_place(name, x, y, names) for name, x, y in parts)
    _, option, *within = key.split(".")
    if not (isinstance(new, str | None) and isinstance(old, str | None)):
        return False
    if option == "files":
        return True
    known = option in _ROWS and (not within or within[-1] in _WITHIN)
    known |= option in names and not within
    return known and isinstance(new, str) and os.path.exists(os.path.expanduser(new))


def _counts(key: str) -> bool:
    """Whether results depend on a key: a renewed token, for example, changes none."""
    return not is_secret(key) and not any(f"{key}.".startswith(f"{free}.") for free in _FREE)


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / KEPT
    if not path.exists():
        return None
    return without_secrets(read_json(path, ("arms",), RecipeError))


def _resolved(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe as JSON restores it (tuples become lists, other objects text), and as written."""
    data = json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
    return data, data.pop("written", {})


def _plain(recipe: Recipe) -> dict[str, Any]:
    data, written = _resolved(recipe)
    return without_secrets(_unresolved(data, written))


def _unresolved(value: Any, written: Any) -> Any:
    """Data with interpolated texts as they were written; interpolated numbers stay numbers."""
    if isinstance(value, dict):
        below = cast("dict[str, Any]", value)
        return {key: _unresolved(v, _at(written, key)) for key, v in below.items()}
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        return [_unresolved(v, _at(written, i)) for i, v in enumerate(parts)]
    return written if isinstance(value, str) and _is_interpolation(written) else value


def _at(written: Any, key: Any) -> Any:
    """The written text at a key; an interpolation of a mapping stands for all of its parts."""
    if _is_interpolation(written):
        return written
    if isinstance(written, dict):
        return cast("dict[str, Any]", written).get(key)
    inside = isinstance(written, list) and key < len(cast("list[Any]", written))
    return cast("list[Any]", written)[key] if inside else None


def _is_interpolation(written: Any) -> bool:
    return isinstance(written, str) and "${" in written


def _digest(value: Any, salt: bytes) -> str:
    """Salt and hash, slow enough that values cannot be found by trial."""
    return salt.hex() + hashlib.scrypt(json.dumps(value).encode(), salt=salt, n=2**14, r=8, p=1).hex()


def _interpolated(recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Interpolated texts by key: as written, and their value."""
    data, written = _resolved(recipe)
    values, texts = _flat(data), _flat(_unresolved(data, written))
    return {key: (text, values[key]) for key, text in texts.items() if text != values[key]}


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def _quoted(flat: Mapping[str, Any], key: str) -> str:
    return hidden(repr(flat[key])) if key in flat else "not given"
