"""Names of array types, read-only copies, sets of prompts, and counts that stop at their range's end."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
N = TypeVar("N", np.int64, np.float64)


def frozen(values: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return a read-only copy of `values` as `dtype`."""
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def integers(values: Any, name: str, error: type[Exception]) -> IntArray:
    """A read-only copy of dataset indices or counts, shape (n,); raises `error` for anything else."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise error(
            f"{name} must be a 1-D array of integers, got shape {array.shape} and dtype "
            f"{array.dtype}; pass dataset indices, e.g. np.array([4, 0, 7])"
        )
    return frozen(array, np.int64)


def distinct(values: npt.NDArray[N]) -> npt.NDArray[N]:
    """The values in increasing order, each once.

    `np.unique` keeps them in a hash table, which takes three times as long for those of a plan, and a
    hundred times where the process holds millions of other objects.

    >>> distinct(np.array([4, 1, 4])).tolist()
    [1, 4]
    """
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]


def among(values: IntArray, others: IntArray) -> BoolArray:
    """Whether each value is one of the others.

    >>> among(np.array([4, 1, 7]), np.array([7, 4, 9])).tolist()
    [True, False, True]
    """
    if not len(others):
        return np.zeros(len(values), bool)
    ordered = np.sort(others)
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def one_more(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Counts plus one; a count stops at the largest number of its type, and does not wrap around.

    >>> one_more(np.array([3, 126, 127], np.int8)).tolist()
    [4, 127, 127]
    """
    return np.minimum(counts, np.iinfo(counts.dtype).max - 1) + 1
