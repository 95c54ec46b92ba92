"""Following the bins of a column from a checkpoint's categories to those of today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from gdro.difficulty.bins import Binning
from gdro.errors import CheckpointError, KeysError
from gdro.numerics.arrays import IntArray
from gdro.types import UNSEEN

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class Categories:
    """The categories of a checkpoint beside those of the pool.

    A bin's number counts from the sorted names, so that it means another bin where a name came or went.

    Attributes:
        binning: Today's.
        saved: Names of the checkpoint, sorted; None if it was written before they were kept.
        keys: `exact` refuses what differs; `match` follows the names.
    """

    binning: Binning
    saved: tuple[str, ...] | None
    keys: Literal["exact", "match"]

    @property
    def changed(self) -> bool:
        """Whether bins of the checkpoint have other numbers today."""
        return self.saved is not None and self.saved != self.binning.categories

    @property
    def num_bins(self) -> int:
        """B of the checkpoint."""
        names = self.binning.categories if self.saved is None else self.saved
        return max(1, len(names)) * self.binning.levels

    def bins(self, old_N: IntArray) -> IntArray:
        """Bins under today's categories; levels of difficulty stay, shape (N,).

        Args:
            old_N: The checkpoint's, at their places in today's pool.

        Raises:
            CheckpointError: Prompts are in other categories than in the checkpoint, and nothing says
                how to follow them.
        """
        code_N, levels = self.binning.code_N, self.binning.levels
        if code_N is None:
            return old_N
        new_N = np.where(old_N == UNSEEN, UNSEEN, code_N * levels + old_N % levels)
        moved = int(np.count_nonzero(new_N != old_N))
        if moved and (self.keys == "exact" or self.saved is None):
            found = f"{moved} prompts are in another category than in the checkpoint"
            if self.saved is not None:
                raise KeysError(found, "move them", "load the column that it was written with")
            raise KeysError(
                found, "",
                "load the column that it was written with, or start without it: it was written before "
                "names of categories were kept, so that they cannot be followed",
            )  # fmt: skip
        return new_N

    def rows(self, saved: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows of `saved` at the places of their categories, rows of `fresh` for new ones.

        Args:
            saved: Any number of rows for each category of the checkpoint, one after the other.
            fresh: As many for each of today's.

        Returns:
            As `fresh`; `saved` itself where the categories are the same or the shapes do not fit,
            which whoever uses it checks.
        """
        if self.saved is None or not self.changed:
            return saved
        own = self.binning.categories
        each = len(fresh) // len(own)
        if saved.shape != (len(self.saved) * each, *fresh.shape[1:]):
            return saved
        _, saved_K, own_K = np.intersect1d(self.saved, own, return_indices=True)
        rest = fresh.shape[1:]
        moved = fresh.astype(saved.dtype).reshape(len(own), each, *rest)
        moved[own_K] = saved.reshape(len(self.saved), each, *rest)[saved_K]
        return moved.reshape(fresh.shape)


def categories(saved: Any, binning: Binning, keys: Literal["exact", "match"]) -> Categories:
    """Compare a checkpoint's categories with today's.

    Args:
        saved: Names in its header; None if it has none.
        binning: Today's.
        keys: `exact` refuses other names.

    Raises:
        CheckpointError: The names are no names, or differ and `keys` is `exact`.
    """
    if saved is None or binning.code_N is None:
        return Categories(binning, None, keys)
    given = cast("list[Any]", saved) if isinstance(saved, list) else []
    names = [name for name in given if isinstance(name, str)]
    if not names or len(set(names)) < len(given):
        raise CheckpointError(
            f"the checkpoint's header has categories {saved!s:.60}; it is damaged, go back to an "
            "earlier one"
        )
    found = Categories(binning, tuple(names), keys)
    if found.changed and keys == "exact":
        own = list(binning.categories)
        raise KeysError(
            f"the checkpoint's bins are of {len(names)} categories ({_shown(names)}), the pool's of "
            f"{len(own)} ({_shown(own)})",
            "keep what was learned of those that both have (new ones start fresh)",
            "load the column of the checkpoint",
        )
    return found


def _shown(names: list[str]) -> str:
    return ", ".join(name[:30] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
