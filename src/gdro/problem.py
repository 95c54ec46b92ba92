"""The prompts that a controller serves, with what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.errors import ProblemError
from gdro.numerics.arrays import FloatArray, IntArray, frozen
from gdro.numerics.hashing import hash_keys

LONGEST_KEY = 1 << 14
"""Most characters of a prompt's key; hashing takes time in proportion."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The prompts that a controller serves (the dataset, or pool).

    Args:
        prompt_keys: N stable, distinct strings. They identify a prompt across runs, so take a
            dataset column or a hash of the text, never a position.
        prior_N: Known pass rate of each prompt in [0, 1] (NaN: unknown), shape (N,), for instance
            from an earlier run. Prompts with a prior start in a bin instead of as unseen.
        columns: Other data of each prompt by name, shape (N,) each: numbers (a difficulty) or strings
            (a topic), for strategies and bins that use them; or D numbers each, shape (N, D) (an
            embedding), for `Difficulty.predictor`.
        texts: Text of each prompt, N strings, for a predictor that reads `prompt`.

    Raises:
        ProblemError: Keys are missing, not strings or not distinct, a prior is out of range, a column
            has another length or missing numbers, or texts are not N strings.
    """

    prompt_keys: Sequence[str]
    prior_N: FloatArray | None = None
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        given: Sequence[Any] = self.prompt_keys
        if not len(given):
            raise ProblemError("prompt_keys is empty; a pool needs at least one prompt")
        bad = next(((i, k) for i, k in enumerate(given) if not isinstance(k, str) or not k), None)
        if bad is not None:
            raise ProblemError(
                f"prompt_keys[{bad[0]}] is {bad[1]!r}; every key must be a non-empty string "
                "(convert numbers with str, and fill missing values)"
            )
        keys = tuple(str(key) for key in given)  # numpy's strings become Python's
        longest = max(keys, key=len)
        if len(longest) > LONGEST_KEY:
            raise ProblemError(
                f"prompt key {longest[:40]!r}... has {len(longest)} characters, at most {LONGEST_KEY} "
                "are allowed; use an id column, or a hash of the text"
            )
        if len(set(keys)) != len(keys):
            seen: set[str] = set()
            twice = next(k for k in keys if k in seen or seen.add(k))
            raise ProblemError(
                f"prompt key {twice!r} appears more than once in {len(keys)} keys; keys must be "
                "distinct, so drop duplicate rows or choose another id column"
            )
        object.__setattr__(self, "prompt_keys", keys)
        if self.prior_N is not None:
            object.__setattr__(self, "prior_N", _checked_prior(self.prior_N, len(keys)))
        columns = {name: _checked_column(name, c, len(keys)) for name, c in self.columns.items()}
        object.__setattr__(self, "columns", columns)
        if self.texts is not None:
            _check_texts(self.texts, len(keys))

    def column(self, name: str, needed_by: str, wide: bool = False) -> npt.NDArray[Any]:
        """A column, shape (N,).

        Args:
            name: Name of the column.
            needed_by: What needs the column, for the error message.
            wide: Whether it may hold several numbers for each prompt, shape (N, D).

        Raises:
            ProblemError: There is no such column, or it is wide and may not be.
        """
        if name not in self.columns:
            known = ", ".join(sorted(self.columns)) or "none"
            raise ProblemError(
                f"{needed_by} needs the column {name!r} of the prompts, which have {known}; add it to "
                f"the dataset, or pass Problem(..., columns={{{name!r}: values}})"
            )
        column = self.columns[name]
        if column.ndim > 1 and not wide:
            raise ProblemError(
                f"{needed_by} needs one value for each prompt; the column {name!r} has "
                f"{column.shape[1]} numbers for each (an embedding?), which only a predictor reads"
            )
        return column

    def sorted_column(self, name: str) -> tuple[IntArray, npt.NDArray[Any]]:
        """The order of the prompts by a column, and the values in that order, shape (N,) each.

        Sorted when it is first asked for, and kept.
        """
        if name not in self._sorted:
            order_N = np.argsort(self.columns[name], kind="stable")
            self._sorted[name] = order_N, self.columns[name][order_N]
        return self._sorted[name]

    @cached_property
    def _sorted(self) -> dict[str, tuple[IntArray, npt.NDArray[Any]]]:
        return {}

    @property
    def num_prompts(self) -> int:
        """N, the number of prompts in the pool."""
        return len(self.prompt_keys)

    @cached_property
    def key_hash_N(self) -> npt.NDArray[np.uint64]:
        """64-bit hashes of the keys, shape (N,), stable across processes and versions."""
        return hash_keys(self.prompt_keys)


def _checked_column(name: str, values: Any, num_prompts: int) -> npt.NDArray[Any]:
    column = np.array(values)
    narrow = column.ndim == 1 and column.dtype.kind in "biufU"
    wide = column.ndim == 2 and column.shape[1] > 0 and column.dtype.kind in "iuf"
    if not (narrow or wide) or len(column) != num_prompts:
        raise ProblemError(
            f"column {name!r} has shape {column.shape} and dtype {column.dtype}; it needs one number or "
            f"string for each of {num_prompts} prompts, or equally many numbers for each"
        )
    if column.dtype.kind == "f" and not bool(np.isfinite(column).all()):
        raise ProblemError(
            f"column {name!r} holds values that are not finite; fill them before training"
        )
    column.flags.writeable = False
    return column


def _check_texts(texts: Sequence[Any], num_prompts: int) -> None:
    bad = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if len(texts) != num_prompts or bad is not None:
        what = (
            f"texts[{bad}] is {texts[bad]!r:.60}" if bad is not None else f"there are {len(texts)} texts"
        )
        raise ProblemError(f"{what}; pass one string for each of {num_prompts} prompts")


def _checked_prior(prior: Any, num_prompts: int) -> FloatArray:
    prior_N: FloatArray = frozen(prior, np.float64)
    if prior_N.shape != (num_prompts,):
        raise ProblemError(f"prior_N has shape {prior_N.shape}, needs ({num_prompts},)")
    if bool(np.any((prior_N < 0) | (prior_N > 1))):
        raise ProblemError("prior_N must lie in [0, 1] (NaN where unknown); pass rates, not counts")
    return prior_N
