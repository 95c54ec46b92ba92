"""Following prompts by key from a checkpoint's pool into today's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gdro.errors import CheckpointError, KeysError
from gdro.numerics.arrays import IntArray


@dataclass(frozen=True)
class KeyMatch:
    """How a checkpoint's pool relates to this one.

    Attributes:
        saved_M: Rows of the checkpoint that live on, shape (M,).
        own_M: Their rows in this pool, shape (M,).
        added: Prompts of this pool that the checkpoint does not know.
        removed: Prompts of the checkpoint that this pool does not have.
        same: The pools are equal, in the same order.
        num_saved: Prompts of the checkpoint.
    """

    saved_M: IntArray
    own_M: IntArray
    added: int
    removed: int
    same: bool
    num_saved: int = 0

    @property
    def matched(self) -> int:
        """Prompts in both pools."""
        return len(self.own_M)

    def __str__(self) -> str:
        order = "" if self.same or self.added or self.removed else ", in another order"
        return f"{self.matched} prompts matched, {self.added} are new, {self.removed} are gone{order}"

    def remap(self, saved: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows of `saved` at their places in this pool, rows of `fresh` elsewhere.

        Raises:
            CheckpointError: `saved` has another number of rows than the checkpoint has prompts.
        """
        if self.same:  # whoever uses the rows checks their shape
            return saved
        needed = (self.num_saved, *fresh.shape[1:])
        if saved.shape != needed or saved.dtype.kind != fresh.dtype.kind:
            raise CheckpointError(
                f"an array by prompt has shape {saved.shape} and dtype {saved.dtype} in the checkpoint, "
                f"needs {needed} {fresh.dtype}; it is damaged, or of other options"
            )
        moved = fresh.copy()
        moved[self.own_M] = saved[self.saved_M]
        return moved


def match_keys(
    saved_hash: npt.NDArray[np.uint64],
    own_hash: npt.NDArray[np.uint64],
    keys: Literal["exact", "match"],
) -> KeyMatch:
    """Match two pools by the hashes of their keys.

    Args:
        saved_hash: The checkpoint's, shape (N',).
        own_hash: This pool's, shape (N,).
        keys: `exact` refuses pools that differ.

    Returns:
        The match.

    Raises:
        KeysError: The pools differ and `keys` is `exact`, or nothing matches.
        CheckpointError: The hashes are damaged.
    """
    if saved_hash.ndim != 1 or saved_hash.dtype != np.uint64:
        raise CheckpointError(
            f"the checkpoint's keys have shape {saved_hash.shape} and dtype {saved_hash.dtype}, needs "
            "1-D uint64; it is damaged, go back to an earlier one"
        )
    if np.array_equal(saved_hash, own_hash):  # nearly always; the search below sorts both pools
        row_N = np.arange(len(own_hash), dtype=np.int64)
        return KeyMatch(row_N, row_N, 0, 0, True, len(saved_hash))
    saved_M, own_M = _common(saved_hash, own_hash)
    added, removed = len(own_hash) - len(own_M), len(saved_hash) - len(own_M)
    if keys == "exact" or not len(own_M):
        order = "" if added or removed else ", in another order"
        raise KeysError(
            f"the checkpoint's pool has {len(saved_hash)} prompts, this one {len(own_hash)}; "
            f"{len(own_M)} keys match, {added} are new, {removed} are gone{order}",
            "follow the keys" if len(own_M) else "",
            "load the dataset of the checkpoint",
        )
    return KeyMatch(saved_M, own_M, added, removed, False, len(saved_hash))


_CHUNK = 1 << 16  # keys looked up at once: a file of many keys takes no more memory for it


def _common(
    saved_hash: npt.NDArray[np.uint64], own_hash: npt.NDArray[np.uint64]
) -> tuple[IntArray, IntArray]:
    """Rows of the keys that both have, the first where one stands twice; in the order of `own_hash`."""
    order_N = np.argsort(own_hash, kind="stable")
    sorted_N = own_hash[order_N]
    row_N = np.full(len(own_hash), -1, np.int64)
    for start in range(0, len(saved_hash), _CHUNK):
        chunk = saved_hash[start : start + _CHUNK]
        place = np.minimum(np.searchsorted(sorted_N, chunk), len(sorted_N) - 1)
        found = np.flatnonzero(sorted_N[place] == chunk)
        own = order_N[place[found]]
        new = row_N[own] < 0
        # Backwards: of several the first is written last.
        row_N[own[new][::-1]] = found[new][::-1] + start
    own_M = np.flatnonzero(row_N >= 0)
    return row_N[own_M], own_M
