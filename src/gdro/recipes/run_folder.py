"""The recipe that a folder holds figures of, kept beside them, so that no other goes on with them.

No secret is kept: interpolations stand as they were written, options that hold a secret and passwords
in addresses as `***`. Only the owner may read the file.
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
from gdro.common.redact import hidden, is_secret, names_secret, without_secrets
from gdro.recipes.schema import Recipe, RecipeError

KEPT = "recipe.json"
# What changes no figure: another disk, tracker or bar, words, and what only a dry run reads.
_FREE = (
    "base",
    "description",
    "architecture",
    "trl.save_steps",
    "trl.save_total_limit",
    "trl.report_to",
    "trl.run_name",
    "trl.disable_tqdm",
)
_DIGESTS = "interpolated"


def keep(recipe: Recipe, folder: Path) -> None:
    """Write a recipe, with every key but its interpolations, into its run's folder.

    Arms of before stay listed. Of an interpolated text, a slow hash is written beside, so that another
    value is noticed, unless it is a secret.
    """
    plain, kept = _plain(recipe), _read(folder) or {}
    digests = {
        key: _digest(value, os.urandom(16))
        for key, (text, value) in _interpolated(recipe).items()
        if _counts(key) and not names_secret(str(text))
    }
    arms = {**kept.get("arms", {}), **plain["arms"]}
    write_json(folder / KEPT, {**plain, "arms": arms, _DIGESTS: digests}, private=True)


def differing(recipe: Recipe, folder: Path, begun: Collection[str]) -> list[str] | None:
    """What a recipe says otherwise than the one that a folder's figures are of.

    Args:
        recipe: The job.
        folder: Of the run.
        begun: Arms that the folder has something of; others may be new, or changed.

    Returns:
        A line each key: its name, its value, and the folder's. None where the folder has no recipe.

    Raises:
        RecipeError: The folder's recipe is damaged.
    """
    kept = _read(folder)
    if kept is None:
        return None
    digests = kept.pop(_DIGESTS, {})
    asked = _plain(recipe)
    common = asked["arms"].keys() & kept.get("arms", {}).keys() & set(begun)
    new, old = (
        {**side, "arms": {name: side["arms"][name] for name in common}} for side in (asked, kept)
    )
    new, old = _flat(new), _flat(old)
    values = _interpolated(recipe)
    lines = [
        f"{key} is {_said(new, key)}, there {_said(old, key)}"
        for key in sorted(new.keys() | old.keys())
        if new.get(key) != old.get(key) and _counts(key)
    ]
    return lines + [
        f"{key} is {written}, which had another value there"
        for key, (written, value) in sorted(values.items())
        if new.get(key) == old.get(key) == written
        and _counts(key)
        and key in digests
        and digests[key] != _digest(value, bytes.fromhex(digests[key][:32]))
    ]


def _counts(key: str) -> bool:
    """Whether figures depend on a key: a token that was renewed changes none."""
    return not is_secret(key) and not any(f"{key}.".startswith(f"{free}.") for free in _FREE)


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / KEPT
    if not path.exists():
        return None
    return without_secrets(read_json(path, ("arms",), RecipeError))


def _resolved(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """As it is read again (a tuple is a list, whatever JSON has not its text), and as it was written."""
    data = json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
    return data, data.pop("written", {})


def _plain(recipe: Recipe) -> dict[str, Any]:
    data, written = _resolved(recipe)
    return without_secrets(_unresolved(data, written))


def _unresolved(value: Any, written: Any) -> Any:
    """Data with texts from interpolations as they were written; numbers are no secret, and stay."""
    if isinstance(value, dict):
        below = cast("dict[str, Any]", value)
        return {key: _unresolved(v, _at(written, key)) for key, v in below.items()}
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        return [_unresolved(v, _at(written, i)) for i, v in enumerate(parts)]
    return written if isinstance(value, str) and _is_interpolation(written) else value


def _at(written: Any, key: Any) -> Any:
    """The part of what was written; an interpolation that gives a mapping stands for all of it."""
    if _is_interpolation(written):
        return written
    if isinstance(written, dict):
        return cast("dict[str, Any]", written).get(key)
    inside = isinstance(written, list) and key < len(cast("list[Any]", written))
    return cast("list[Any]", written)[key] if inside else None


def _is_interpolation(written: Any) -> bool:
    return isinstance(written, str) and "${" in written


def _digest(value: Any, salt: bytes) -> str:
    """Salt and hash, slow enough that nobody finds a value by trying."""
    return salt.hex() + hashlib.scrypt(json.dumps(value).encode(), salt=salt, n=2**14, r=8, p=1).hex()


def _interpolated(recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Texts from interpolations by key: as written, and their value."""
    data, written = _resolved(recipe)
    values, kept = _flat(data), _flat(_unresolved(data, written))
    return {key: (text, values[key]) for key, text in kept.items() if text != values[key]}


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def _said(flat: Mapping[str, Any], key: str) -> str:
    return hidden(repr(flat[key])) if key in flat else "not given"
