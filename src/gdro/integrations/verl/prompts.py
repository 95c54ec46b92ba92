"""verl's dataset as a pool of prompts with stable ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.errors import ProblemError
from gdro.integrations.dataset import columns_of
from gdro.numerics.arrays import IntArray
from gdro.problem import Problem


@dataclass(frozen=True)
class Prompts:
    """The rows of a dataset, each a prompt.

    Attributes:
        problem: The pool of prompts.
        id: Field of the rows' ids; dots separate keys of nested dictionaries.
        index: Row of each id.
    """

    problem: Problem
    id: str
    index: dict[str, int]

    def rows(self, batch: Any) -> IntArray:
        """Dataset row of each prompt of a batch, shape (P,).

        Raises:
            ProblemError: The batch holds an id that the dataset did not have at start.
        """
        head, *path = self.id.split(".")
        ids = [str(_inside(value, path)) for value in batch[head]]
        unknown = next((key for key in ids if key not in self.index), None)
        if unknown is not None:
            raise ProblemError(
                f"a batch holds {self.id}={unknown!r}, which the training data did not have at start; "
                "do not change rows on the fly"
            )
        return np.array([self.index[key] for key in ids])


def table_of(dataset: Any) -> Any:
    """The rows of verl's training data as a `datasets.Dataset`.

    Raises:
        ProblemError: A dataset class of the user's does not have them.
    """
    table: Any = getattr(dataset, "dataframe", None)
    if hasattr(table, "column_names") and len(table) == len(dataset):
        return table
    raise ProblemError(
        f"the training data are a {type(dataset).__name__} (data.custom_cls) without its rows in "
        "`dataframe`, a datasets.Dataset; gdro reads ids there: derive it from verl's RLHFDataset, or "
        "set `self.dataframe`"
    )


def prompts_of(table: Any, id: str, prior: str | None, columns: Sequence[str]) -> Prompts:
    """Read the fields of ids, of known pass rates (null: not known), and further ones.

    Raises:
        ProblemError: A field is missing, or ids are missing or repeat.
    """
    keys = [str(value) for value in _field(table, id, "id")]
    empty = next((row for row, key in enumerate(keys) if key in ("", "None")), None)
    if empty is not None:
        raise ProblemError(f"{id} is empty in row {empty}; {_FIX}")
    index = {key: row for row, key in reversed(list(enumerate(keys)))}
    if len(index) < len(keys):
        twice = next(key for row, key in enumerate(keys) if index[key] != row)
        raise ProblemError(
            f"{id} is {twice!r} more than once ({len(keys)} rows, {len(index)} ids); {_FIX}"
        )
    known = [] if prior is None else _field(table, prior, "prior")
    rates = [np.nan if value is None else float(value) for value in known]
    prior_N = None if prior is None else np.array(rates)
    fields = {name: _field(table, name, "column") for name in columns}
    values, texts = columns_of(fields, range(len(keys)))
    return Prompts(Problem(keys, prior_N, values, texts), id, index)


_FIX = (
    "beliefs are kept by id, so give every row its own: write extra_info.index when you make the "
    "parquet file, or name another field with +gdro.id=FIELD"
)


def _field(table: Any, name: str, kind: str) -> list[Any]:
    head, *path = name.split(".")
    if head not in table.column_names:
        fix = _FIX if kind == "id" else f"they have {', '.join(table.column_names)}"
        raise ProblemError(f"the training data have no field {name!r} ({kind}); {fix}")
    return [_inside(value, path) for value in table[head]]


def _inside(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = None if value is None else value.get(name)
    return value
