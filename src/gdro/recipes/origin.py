"""What the arms of a run start from, by content: the model with its tokenizer, and the rows of the task.

The first load writes `origin.json` into the run's folder, and every later one is compared with it. So
arms of one pair never start from different bases, and a run may go on on a machine with other paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.common.files import read_json, write_json
from gdro.integrations.row_keys import row_keys
from gdro.recipes.processes import computed_once
from gdro.recipes.run_folder import ORIGIN, other_paths
from gdro.recipes.schema import Recipe, RecipeError
from gdro.tasks.weights import digest

_LABEL = "source"  # the name of the file that a row is from, which groups evaluations and no more
_NAMES_OF_MODEL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")
_CALLED = {
    "weights": "weights or tokenizer",
    "train": "training rows",
    "heldout": "held-out rows",
}
# Options that a task may have, by what they give.
_GIVEN_BY = {"weights": ("base", "model"), "train": ("files", "data"), "heldout": ("files", "heldout")}


def origin_of(task: Any) -> dict[str, str | None]:
    """Digests of a task: `weights` of its model and tokenizer; `train` and `heldout`, of rows in order.

    That of the weights is None where a process holds only a part of them.
    """
    return {**base_of(task), "train": _rows(task.train)}


def base_of(task: Any) -> dict[str, str | None]:
    """Digests of what the evaluation of a base depends on: `weights`, and `heldout` rows."""
    return {"weights": _weights(task.model, task.tokenizer), "heldout": _rows(task.heldout)}


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


def _weights(model: Any, tokenizer: Any) -> str | None:
    values = model.state_dict().values()
    # DeepSpeed divides the weights while they are loaded, and leaves empty ones.
    if any(v.is_meta or not v.numel() for v in values):
        return None
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in _NAMES_OF_MODEL}
    around = {
        "config": config,
        "ends": model.generation_config.eos_token_id,
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "template": getattr(tokenizer, "chat_template", None),
        "special": [tokenizer.pad_token_id, tokenizer.eos_token_id],
    }
    text = digest(model) + json.dumps(around, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _rows(dataset: Any) -> str:
    """Digest of all columns, which rewards and strategies may read, without a row's label."""
    if _LABEL in dataset.column_names:
        dataset = dataset.remove_columns([_LABEL])
    return hashlib.sha256("".join(row_keys(dataset)).encode()).hexdigest()[:16]
