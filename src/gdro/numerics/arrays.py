"""Names of array types, and read-only copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


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
