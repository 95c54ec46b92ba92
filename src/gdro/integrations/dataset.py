"""A dataset's rows as a pool of prompts with stable keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gdro.difficulty.features import TEXT
from gdro.difficulty.tracker import Difficulty
from gdro.errors import ProblemError
from gdro.integrations.row_keys import repeated, row_key, row_keys
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem
from gdro.step.checks import check_parts
from gdro.strategy import Strategy

SOURCES = ("source", "data_source")
"""Columns that name the source of a row, the first that a dataset has."""


def prompt_text(prompt: Any) -> str:
    """The text of a prompt, or of its last message."""
    if isinstance(prompt, str):
        return prompt
    content = prompt[-1].get("content") if prompt else ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or "") for part in content or ())


def row_text(row: Mapping[str, Any]) -> str:
    """The text of a row's prompt; of a row without one, which an environment completes, its columns.

    >>> row_text({"prompt": [{"role": "user", "content": "1+1"}], "seed": 3}), row_text({"seed": 3})
    ('1+1', 'seed=3')
    """
    if "prompt" in row:
        return prompt_text(row["prompt"])
    return ", ".join(f"{name}={value}" for name, value in row.items())


def wanted_columns(strategy: Strategy[Any], difficulty: Difficulty | None) -> tuple[str, ...]:
    """Dataset columns that a strategy, its bins or the predictor of pass rates read.

    Raises:
        StrategyError: `strategy` is no strategy, or `difficulty` no `Difficulty`.
    """
    check_parts(strategy, difficulty)
    own = () if difficulty is None else difficulty.columns
    return tuple(dict.fromkeys((*strategy.columns, *own)))


def columns_of(
    values: Mapping[str, Sequence[Any]], rows: Sequence[int]
) -> tuple[dict[str, Any], list[str] | None]:
    """Columns of the given rows as `Problem` takes them, and the texts of their prompts if asked for.

    Args:
        values: Values of all rows by column; `prompt` is read as text.
        rows: Numbers of the rows.

    Raises:
        ProblemError: A column holds lists of different lengths.
    """
    columns: dict[str, Any] = {}
    for name, column in values.items():
        if name == TEXT:
            continue
        try:
            columns[name] = np.array([column[row] for row in rows])
        except ValueError:
            raise ProblemError(
                f"column {name!r} holds lists of different lengths; it must hold one number, one text, "
                "or equally many numbers for each row"
            ) from None
    texts = [prompt_text(values[TEXT][row]) for row in rows] if TEXT in values else None
    return columns, texts


@dataclass(frozen=True)
class DatasetPool:
    """Distinct prompts of a dataset.

    Attributes:
        problem: The pool, N distinct prompts.
        id_column: Column that names prompts, or None for a hash of all columns.
        names: Columns that make the key.
        row_N: The dataset row that stands for each prompt.
        index: Prompt index by key.
        copies: Prompts of exact copies, by the index of the first; empty where copies are one prompt.
        count_N: Dataset rows of each prompt.
    """

    problem: Problem
    id_column: str | None
    names: tuple[str, ...]
    row_N: list[int]
    index: dict[str, int]
    copies: dict[int, list[int]]
    count_N: IntArray

    def key(self, row: Mapping[str, Any]) -> str:
        """Key of a dataset row; copies have the key of the first.

        Raises:
            ProblemError: The row lacks a column of the dataset.
        """
        missing = next((name for name in self.names if name not in row), None)
        if missing is not None:
            raise ProblemError(
                f"the trainer offered a row without column {missing!r}, which train_dataset had at "
                "start; do not change rows on the fly, or set id_column"
            )
        if self.id_column is not None:
            return str(row[self.id_column])
        return row_key({name: row[name] for name in self.names})

    def indices(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Prompt index of each row; copies have the index of the first.

        Raises:
            ProblemError: A row is not in this pool.
        """
        keys = [self.key(row) for row in rows]
        unknown = next((k for k in keys if k not in self.index), None)
        if unknown is not None:
            raise ProblemError(
                f"the trainer offered a row with key {unknown!r} that train_dataset did not have at "
                "start; do not change rows on the fly, or set id_column"
            )
        return [self.index[k] for k in keys]

    def apart(self, index_R: Sequence[int], group: int) -> list[int]:
        """Indices of all ranks' rows, in which each group of `group` rows gets a copy of its own."""
        if not self.copies:
            return list(index_R)
        used: dict[int, int] = {}
        apart_R: list[int] = []
        for index in index_R[::group]:
            copies = self.copies.get(index, [index])
            number = used.get(index, 0)
            used[index] = number + 1
            apart_R += [copies[number % len(copies)]] * group
        return apart_R

    def described(self, dataset: Any) -> Callable[[str], tuple[str, str | None]]:
        """A function of a prompt's key: its text, and its source if a column names one."""
        source = next((name for name in SOURCES if name in dataset.column_names), None)
        columns = dataset
        if "prompt" in dataset.column_names and dataset.format["type"] is None:
            columns = dataset.select_columns([name for name in ("prompt", source) if name])

        def describe(key: str) -> tuple[str, str | None]:
            row = columns[self.row_N[self.index[key]]]
            return row_text(row), None if source is None else str(row[source])

        return describe

    def rows(
        self, prompt_R: IntArray, offered: dict[int, list[dict[str, Any]]], dataset: Any
    ) -> list[dict[str, Any]]:
        """Dataset rows of rollouts: those in `offered`, by prompt, and copies of the first beyond them.

        Prompts that were not offered are read from the dataset, and added. The rows are copies: trainers
        write fields of a rollout function into them.
        """
        rows: list[dict[str, Any]] = []
        used: dict[int, int] = {}
        for index in prompt_R.tolist():
            if index not in offered:
                offered[index] = [dataset[self.row_N[index]]]
            number = used.get(index, 0)
            used[index] = number + 1
            known = offered[index]
            rows.append(dict(known[number] if number < len(known) else known[0]))
        return rows


def dataset_pool(
    dataset: Any,
    id_column: str | None = None,
    prior_column: str | None = None,
    columns: Sequence[str] = (),
    separate: bool = False,
    prompts: bool = True,
) -> DatasetPool:
    """Read the keys of a dataset.

    Args:
        dataset: A map-style `datasets.Dataset`.
        id_column: Column of distinct ids. Without it, the key of a row is a hash of all columns.
        prior_column: Column of known pass rates in [0, 1] (None or NaN: unknown).
        columns: Further columns, which strategies, bins or predictors read.
        separate: Whether exact copies are prompts of their own, as in GRPOTrainer; otherwise each set of
            copies is one prompt, with a warning.
        prompts: Whether the dataset must have a column `prompt`; environments may write the prompts.

    Returns:
        The distinct prompts, in the order of the dataset.

    Raises:
        ProblemError: A column is missing, ids are missing or repeat, or rows cannot be compared.
    """
    for column in filter(None, ("prompt" if prompts else None, id_column, prior_column, *columns)):
        if column not in dataset.column_names:
            raise ProblemError(
                f"the dataset has no column {column!r}; it has {', '.join(dataset.column_names)}"
            )
    keys = _column_keys(dataset, id_column) if id_column else row_keys(dataset)
    apart, num_copies = repeated(keys)
    if id_column and num_copies:
        twice = next(key for key, own in zip(keys, apart, strict=True) if key != own)
        raise ProblemError(
            f"id column {id_column!r} repeats {twice!r} ({len(keys)} rows, {len(keys) - num_copies} "
            "ids); ids must be distinct: drop duplicates, or leave id_column out to hash whole rows"
        )
    if num_copies and not separate:
        warnings.warn(
            f"{num_copies} of {len(keys)} rows are exact copies of other rows, in every column; copies "
            "are one prompt here, with one belief and one group a step. Drop them, or name a column of "
            "distinct ids with id_column to keep them apart",
            stacklevel=3,
        )
    first: dict[str, int] = {}
    for row, key in enumerate(apart if separate else keys):
        first.setdefault(key, row)
    index = {key: i for i, key in enumerate(first)}
    copies = _copies(keys, apart, index) if separate and num_copies else {}
    rows = list(first.values())
    prior_N = _priors(dataset, prior_column)[rows] if prior_column else None
    values, texts = columns_of({name: list(dataset[name][:]) for name in columns}, rows)
    problem = Problem(prompt_keys=list(first), prior_N=prior_N, columns=values, texts=texts)
    names = (id_column,) if id_column else tuple(dataset.column_names)
    count_N = np.bincount([index[key] for key in (apart if separate else keys)])
    return DatasetPool(problem, id_column, names, rows, index, copies, count_N)


def _priors(dataset: Any, prior_column: str) -> FloatArray:
    """Known pass rates of the dataset's rows, NaN where there is none."""
    values: list[Any] = list(dataset[prior_column][:])
    for row, value in enumerate(values):
        number: bool = isinstance(value, Real) or getattr(value, "ndim", None) == 0
        if value is not None and not (number and (value != value or 0 <= float(value) <= 1)):
            raise ProblemError(
                f"prior column {prior_column!r} is {value!r} in row {row}; it must hold pass rates, "
                "numbers from 0 to 1, or None where the rate is not known"
            )
    return np.array([np.nan if value is None else float(value) for value in values])


def _copies(keys: list[str], apart: list[str], index: dict[str, int]) -> dict[int, list[int]]:
    """Prompts of each set of copies, by the index of the first."""
    prompts: dict[int, list[int]] = {}
    for key, own in zip(keys, apart, strict=True):
        prompts.setdefault(index[key], []).append(index[own])
    return {first: copies for first, copies in prompts.items() if len(copies) > 1}


def _column_keys(dataset: Any, id_column: str) -> list[str]:
    values = list(dataset[id_column][:])
    missing = next((i for i, v in enumerate(values) if v is None or v == ""), None)
    if missing is not None:
        raise ProblemError(f"id column {id_column!r} is empty in row {missing}; every row needs an id")
    return [str(v) for v in values]
