"""Translate the bins of a column from a checkpoint's categories to the current ones."""

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
    """The categories of a checkpoint and those of the current dataset.

    Bins are numbered by the sorted names, so numbers shift where a category was added or removed.

    Attributes:
        binning: The current binning.
        saved: Names of the checkpoint's categories, sorted; empty without a column.
        keys: `exact` refuses differences; `match` follows the names.
    """

    binning: Binning
    saved: tuple[str, ...]
    keys: Literal["exact", "match"]

    @property
    def changed(self) -> bool:
        """Whether the checkpoint's bins are numbered otherwise than the current ones."""
        return self.saved != self.binning.categories

    @property
    def num_bins(self) -> int:
        """Number of bins in the checkpoint."""
        return max(1, len(self.saved)) * self.binning.levels

    def bins(self, old_N: IntArray) -> IntArray:
        """Bins under the current categories, from the checkpoint's in the current order, shape (N,).

        Raises:
            KeysError: Prompts changed their category and `keys` is `exact`.
        """
        code_N, levels = self.binning.code_N, self.binning.levels
        if code_N is None:
            return old_N
        new_N = np.where(old_N == UNSEEN, UNSEEN, code_N * levels + old_N % levels)
        changes = int(np.count_nonzero(new_N != old_N))
        if changes and self.keys == "exact":
            raise KeysError(
                f"{changes} prompts are in another category than in the checkpoint",
                "move them",
                "load the column that it was written with",
            )
        return new_N

    def rows(self, saved: npt.NDArray[Any], fresh: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows of `saved` at the places of their categories, rows of `fresh` for new categories.

        Both hold the same number of rows for each category, one category after the other. Returns
        `saved` itself where the categories are unchanged or its shape is wrong; callers check shapes.
        """
        if not self.changed:
            return saved
        own = self.binning.categories
        each = len(fresh) // len(own)
        if saved.shape != (len(self.saved) * each, *fresh.shape[1:]):
            return saved
        _, saved_K, own_K = np.intersect1d(self.saved, own, return_indices=True)
        rest = fresh.shape[1:]
        rows = fresh.astype(saved.dtype).reshape(len(own), each, *rest)
        rows[own_K] = saved.reshape(len(self.saved), each, *rest)[saved_K]
        return rows.reshape(fresh.shape)


def categories(saved: Any, binning: Binning, keys: Literal["exact", "match"]) -> Categories:
    """Compare the category names in a checkpoint's header with the current ones.

    Raises:
        CheckpointError: They are not a list of distinct names.
        KeysError: They differ and `keys` is `exact`.
    """
    if binning.code_N is None:
        return Categories(binning, (), keys)
    given = cast("list[Any]", saved) if isinstance(saved, list) else []
    names = [name for name in given if isinstance(name, str)]
    if not names or len(set(names)) < len(given):
        raise CheckpointError(
            f"the checkpoint's header has categories {saved!s:.60}; it is damaged, go back to an "
            "earlier one"
        )
    result = Categories(binning, tuple(names), keys)
    if result.changed and keys == "exact":
        own = list(binning.categories)
        raise KeysError(
            f"the checkpoint has {len(names)} categories ({_shown(names)}), the dataset "
            f"{len(own)} ({_shown(own)})",
            "keep what was learned about those that both have (new ones start fresh)",
            "load the column of the checkpoint",
        )
    return result


def _shown(names: list[str]) -> str:
    return ", ".join(name[:30] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
