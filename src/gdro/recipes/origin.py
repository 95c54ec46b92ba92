"""What the arms of a run start from, by content: the base's weights, and the rows of the task.

The first load writes `origin.json` into the run's folder, and every later one is compared with it. So
arms of one pair never start from different bases, and a run may go on on a machine with other paths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.common.files import read_json, write_json
from gdro.integrations.row_keys import row_keys
from gdro.recipes.processes import computed_once
from gdro.recipes.run_folder import ORIGIN, other_paths
from gdro.recipes.schema import Recipe, RecipeError
from gdro.tasks.weights import digest

_READ = ("prompt", "answer")
_CALLED = {"weights": "weights", "train": "training rows", "heldout": "held-out rows"}
# Options that a task may have, by what they give.
_GIVEN_BY = {"weights": ("base", "model"), "train": ("files", "data"), "heldout": ("files", "heldout")}


def origin_of(task: Any) -> dict[str, str | None]:
    """Digests of a task: `weights` of its model; `train` and `heldout`, of prompts and answers in order.

    That of the weights is None where a process holds only a part of them.
    """
    rows = {"train": _rows(task.train), "heldout": _rows(task.heldout)}
    return {"weights": _weights(task.model), **rows}


def check_origin(recipe: Recipe, folder: Path, task: Any, fresh: bool) -> None:
    """Compare a task with what the arms of a folder started from; the first one is written there.

    Args:
        recipe: The recipe.
        folder: Folder of the run.
        task: The task, as it was loaded.
        fresh: Whether no arm has begun; arms without an `origin.json` are of an earlier release, and
            nothing is known of what they started from.

    Raises:
        RecipeError: The weights or rows are others.
    """
    problem = computed_once(lambda: _problem(recipe, folder, task, fresh))
    if problem:
        raise RecipeError(problem)


def _problem(recipe: Recipe, folder: Path, task: Any, fresh: bool) -> str:
    path = folder / ORIGIN
    if not path.exists():
        if fresh:
            write_json(path, origin_of(task))
        return ""
    here, there = origin_of(task), read_json(path, tuple(_CALLED), RecipeError)
    changed = [part for part in here if None not in (here[part], there[part])]
    changed = [part for part in changed if here[part] != there[part]]
    if not changed:
        return ""
    others = ", ".join(f"{_CALLED[part]} (digest {there[part]}, not {here[part]})" for part in changed)
    paths = "".join(f"; {line}" for line in other_paths(recipe, folder))
    return (
        f"the arms in {folder} started from other {others}{paths}; {_fix(recipe, changed)}, or pass "
        "another --output for a new run"
    )


def _fix(recipe: Recipe, changed: Sequence[str]) -> str:
    part = changed[0]
    option = next((name for name in _GIVEN_BY[part] if name in recipe.task_options), None)
    if option is None:
        return "the task must load the same at every call with one seed"
    if option == "base":
        return "give the same base with task_options.base=FOLDER (a copy; one made again differs)"
    return f"give the same {_CALLED[part]} with task_options.{option}"


def _weights(model: Any) -> str | None:
    values = model.state_dict().values()
    # DeepSpeed divides the weights while they are loaded, and leaves empty ones.
    return None if any(v.is_meta or not v.numel() for v in values) else digest(model)


def _rows(dataset: Any) -> str:
    """Digest of the prompts and answers; of all columns where rewards read others."""
    if set(_READ) <= set(dataset.column_names):
        dataset = dataset.select_columns(list(_READ))
    return hashlib.sha256("".join(row_keys(dataset)).encode()).hexdigest()[:16]
