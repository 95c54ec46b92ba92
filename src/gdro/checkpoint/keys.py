"""Match the prompts of a checkpoint with those of the current dataset by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gdro.errors import CheckpointError, KeysError
from gdro.numerics.arrays import IntArray

Follow = Literal["exact", "match"]
"""Whether a dataset must have the prompts of a checkpoint, or is followed by their keys."""


@dataclass(frozen=True)
class KeyMatch:
    """How the prompts of a checkpoint relate to those of the current dataset.

    Attributes:
        saved_M: Checkpoint indices of the M prompts in both, shape (M,).
        own_M: Their indices in the current dataset, shape (M,).
        added: Number of prompts that only the current dataset has.
        removed: Number of prompts that only the checkpoint has.
        same: Whether both have the same prompts in the same order.
        num_saved: Number of prompts in the checkpoint.
    """

    saved_M: IntArray
    own_M: IntArray
    added: int
    removed: int
    same: bool
    num_saved: int = 0

    @property
    def matched(self) -> int:
        """Number of prompts in both, M."""
        return len(self.own_M)

    def __str__(self) -> str:
        order = "" if self.same or self.added or self.removed else ", in another order"
        return f"{self.matched} prompts matched, {self.added} are new, {self.removed} are gone{order}"

    def remap(self, saved: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows of `saved` at their current places, rows of `fresh` for added prompts.

        Raises:
            CheckpointError: `saved` does not have one row per prompt of the checkpoint.
        """
        if self.same:  # callers check the shape
            return saved
        needed = (self.num_saved, *fresh.shape[1:])
        if saved.shape != needed or saved.dtype.kind != fresh.dtype.kind:
            raise CheckpointError(
                f"an array by prompt has shape {saved.shape} and dtype {saved.dtype} in the checkpoint, "
                f"needs {needed} {fresh.dtype}; it is damaged, or of other options"
            )
        rows = fresh.copy()
        rows[self.own_M] = saved[self.saved_M]
        return rows


def match_keys(
    saved_hash: npt.NDArray[np.uint64],
    own_hash: npt.NDArray[np.uint64],
    keys: Follow,
) -> KeyMatch:
    """Match the key hashes of a checkpoint, shape (N',), with the current ones, shape (N,).

    Raises:
        KeysError: They differ and `keys` is `exact`, or nothing matches.
        CheckpointError: The saved hashes are damaged.
    """
    if saved_hash.ndim != 1 or saved_hash.dtype != np.uint64:
        raise CheckpointError(
            f"the checkpoint's keys have shape {saved_hash.shape} and dtype {saved_hash.dtype}, needs "
            "1-D uint64; it is damaged, go back to an earlier one"
        )
    if np.array_equal(saved_hash, own_hash):  # nearly always; the search below sorts both
        row_N = np.arange(len(own_hash), dtype=np.int64)
        return KeyMatch(row_N, row_N, 0, 0, True, len(saved_hash))
    saved_M, own_M = _common(saved_hash, own_hash)
    added, removed = len(own_hash) - len(own_M), len(saved_hash) - len(own_M)
    if keys == "exact" or not len(own_M):
        order = "" if added or removed else ", in another order"
        raise KeysError(
            f"the checkpoint has {len(saved_hash)} prompts, the dataset {len(own_hash)}; "
            f"{len(own_M)} keys match, {added} are new, {removed} are gone{order}",
            "follow the keys" if len(own_M) else "",
            "load the dataset of the checkpoint",
        )
    return KeyMatch(saved_M, own_M, added, removed, False, len(saved_hash))


_CHUNK = 1 << 16  # keys looked up at once, which bounds the memory for a file with many keys


def _common(
    saved_hash: npt.NDArray[np.uint64], own_hash: npt.NDArray[np.uint64]
) -> tuple[IntArray, IntArray]:
    """Indices of the common keys, the first of duplicates, in the order of `own_hash`."""
    order_N = np.argsort(own_hash, kind="stable")
    sorted_N = own_hash[order_N]
    row_N = np.full(len(own_hash), -1, np.int64)
    for start in range(0, len(saved_hash), _CHUNK):
        chunk = saved_hash[start : start + _CHUNK]
        place = np.minimum(np.searchsorted(sorted_N, chunk), len(sorted_N) - 1)
        matches = np.flatnonzero(sorted_N[place] == chunk)
        own = order_N[place[matches]]
        new = row_N[own] < 0
        # Backwards, so that the first of duplicates is written last.
        row_N[own[new][::-1]] = matches[new][::-1] + start
    own_M = np.flatnonzero(row_N >= 0)
    return row_N[own_M], own_M
