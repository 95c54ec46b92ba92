"""A dataset's rows as a pool of prompts with stable keys."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.checks import check_parts
from gdro.difficulty import Difficulty
from gdro.errors import ProblemError
from gdro.strategy import Strategy
from gdro.types import IntArray, Problem

_ANSWER_COLUMNS = ("answer", "solution", "ground_truth", "target")


def text_key(row: Mapping[str, Any]) -> str:
    """Hash of a row's prompt and answer: its identity where the dataset has no id column.

    Args:
        row: A dataset row with `prompt` (text or messages) and perhaps an answer column.

    Returns:
        32 hexadecimal digits.
    """
    parts = [row["prompt"], *(row[c] for c in _ANSWER_COLUMNS if c in row)]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def prompt_text(prompt: Any) -> str:
    """The text of a prompt, or of its last message."""
    if isinstance(prompt, str):
        return prompt
    content = prompt[-1]["content"] if prompt else ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or "") for part in content or ())


def wanted_columns(strategy: Strategy[Any], difficulty: Difficulty | None) -> tuple[str, ...]:
    """Dataset columns that a strategy or its bins read.

    Raises:
        StrategyError: It is no strategy, or `difficulty` no `Difficulty`.
    """
    check_parts(strategy, difficulty)
    of_bins = (difficulty.column,) if difficulty is not None and difficulty.column else ()
    return tuple(dict.fromkeys((*strategy.columns, *of_bins)))


@dataclass(frozen=True)
class DatasetPool:
    """Distinct prompts of a dataset.

    Attributes:
        problem: The pool, N distinct prompts.
        id_column: Column that names prompts, or None for the hash of the text.
        row_N: The dataset row that stands for each prompt.
        index: Prompt index by key.
    """

    problem: Problem
    id_column: str | None
    row_N: list[int]
    index: dict[str, int]

    def key(self, row: Mapping[str, Any]) -> str:
        """Key of a dataset row."""
        return text_key(row) if self.id_column is None else str(row[self.id_column])

    def indices(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Prompt index of each row.

        Raises:
            ProblemError: A row is not of this pool.
        """
        keys = [self.key(row) for row in rows]
        unknown = next((k for k in keys if k not in self.index), None)
        if unknown is not None:
            raise ProblemError(
                f"the trainer offered a row with key {unknown!r} that train_dataset did not have at "
                "start; do not change rows on the fly, or set id_column"
            )
        return [self.index[k] for k in keys]

    def texts(self, dataset: Any) -> Iterator[tuple[str, str]]:
        """Key and text of each prompt."""
        prompts = list(dataset["prompt"])
        return ((key, prompt_text(prompts[self.row_N[i]])) for key, i in self.index.items())

    def rows(
        self, prompt_R: IntArray, offered: dict[int, list[dict[str, Any]]], dataset: Any
    ) -> list[dict[str, Any]]:
        """Dataset rows of some rollouts: those that the trainer read, and copies beyond them.

        Args:
            prompt_R: Prompt of each rollout, shape (R,).
            offered: Rows that were read, by prompt; those read here are added.
            dataset: Where to read others.
        """
        rows: list[dict[str, Any]] = []
        used: dict[int, int] = {}
        for index in prompt_R.tolist():
            if index not in offered:
                offered[index] = [dataset[self.row_N[index]]]
            number = used.get(index, 0)
            used[index] = number + 1
            known = offered[index]
            rows.append(known[number] if number < len(known) else dict(known[0]))
        return rows


def dataset_pool(
    dataset: Any,
    id_column: str | None = None,
    prior_column: str | None = None,
    columns: Sequence[str] = (),
) -> DatasetPool:
    """Read the keys of a dataset.

    Args:
        dataset: A map-style `datasets.Dataset` with a `prompt` column.
        id_column: Column of distinct ids. Without it, rows are told apart by a hash of prompt and
            answer; duplicates then share one belief.
        prior_column: Column of known pass rates in [0, 1] (None or NaN: unknown).
        columns: Further columns that strategies or bins read.

    Returns:
        The pool.

    Raises:
        ProblemError: A column is missing, or ids are missing or repeat.
    """
    for column in filter(None, ("prompt", id_column, prior_column, *columns)):
        if column not in dataset.column_names:
            raise ProblemError(
                f"the dataset has no column {column!r}; it has {', '.join(dataset.column_names)}"
            )
    keys = _column_keys(dataset, id_column) if id_column else [text_key(r) for r in dataset]
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    if id_column and len(first) < len(keys):
        twice = next(k for row, k in enumerate(keys) if first[k] != row)
        raise ProblemError(
            f"id column {id_column!r} repeats {twice!r} ({len(keys)} rows, {len(first)} ids); ids must "
            "be distinct, so drop duplicates or leave id_column out to use a hash of the text"
        )
    if len(first) < len(keys):
        warnings.warn(
            f"{len(keys) - len(first)} of {len(keys)} rows repeat a prompt and answer; duplicates "
            "share one belief",
            stacklevel=3,
        )
    prior_N = None
    if prior_column:
        values = dataset[prior_column]
        prior_N = np.array([np.nan if values[r] is None else float(values[r]) for r in first.values()])
    rows = list(first.values())
    kept = {name: np.array(dataset[name])[rows] for name in columns}
    problem = Problem(prompt_keys=list(first), prior_N=prior_N, columns=kept)
    return DatasetPool(problem, id_column, list(first.values()), {k: i for i, k in enumerate(first)})


def _column_keys(dataset: Any, id_column: str) -> list[str]:
    values = list(dataset[id_column])
    missing = next((i for i, v in enumerate(values) if v is None or v == ""), None)
    if missing is not None:
        raise ProblemError(f"id column {id_column!r} is empty in row {missing}; every row needs an id")
    return [str(v) for v in values]
