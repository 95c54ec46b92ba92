"""Persistent arrays: a new version costs as much as the rows that it changes; old ones stay valid."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.numerics.arrays import IntArray
from gdro.numerics.hashing import RunningHash
from gdro.numerics.ranks import RankIndex, blocked


class _Store:
    """The memory that all versions of an array share, with what follows its changes."""

    def __init__(self, values: npt.NDArray[Any], num_labels: int) -> None:
        self.block, self.array = blocked(values) if num_labels else (None, np.array(values))
        self.num_labels = num_labels
        self.hash = RunningHash()
        self._index: RankIndex | None = None

    @property
    def index(self) -> RankIndex:
        """The index by label, which is built when it is first used."""
        if self._index is None:
            assert self.block is not None, "an array without labels has no index"
            self._index = RankIndex(self.block, len(self.array), self.num_labels)
        return self._index

    def write(self, rows: IntArray, values: Any) -> npt.NDArray[Any]:
        """Overwrite rows; returns what they held."""
        before = self.array[rows]
        self.array[rows] = values
        if self.hash.active or self._index is not None:
            after = self.array[rows]
            self.hash.change(rows, before, after)
            if self._index is not None:
                self._index.change(rows, before, after)
        return before


class PersistentArray:
    """An array with one row per prompt that never changes, and whose `put` costs O(P), not O(N).

    `put` returns a new version. The newest version that was used owns the memory; older ones know which
    rows differ, and take the memory over when they are read (rerooting). So a state made of these arrays
    may be kept, and used again after a newer one.

    Args:
        values: The first version, shape (N, ...); copied.
        labels: Number of labels where the values are labels from 0, shape (N,): then rows can be drawn
            by label. 0: they are not labels.

    References:
        Baker, 1991, "Shallow Binding Makes Functional Arrays Fast".

    >>> old = PersistentArray(np.zeros(3))
    >>> new = old.put(np.array([1]), 5.0)
    >>> new[:].tolist(), old[:].tolist()
    ([0.0, 5.0, 0.0], [0.0, 0.0, 0.0])
    """

    __slots__ = ("_before", "_newer", "_rows", "_store")

    def __init__(self, values: npt.NDArray[Any], labels: int = 0) -> None:
        self._store = _Store(values, labels)
        self._newer: PersistentArray | None = None
        self._rows: Any = None
        self._before: Any = None

    def __len__(self) -> int:
        return len(self._store.array)

    def __getitem__(self, rows: Any) -> Any:
        """A copy of rows, or one number."""
        return self._current().array[rows].copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self._current().array, dtype)

    def __repr__(self) -> str:
        return f"PersistentArray({self._current().array!r})"

    @property
    def array(self) -> npt.NDArray[Any]:
        """All rows without copying, read-only; it shows this version until the next `put`."""
        view = self._current().array.view()
        view.flags.writeable = False
        return view

    @property
    def labels(self) -> int:
        """Number of labels; 0 where the values are none."""
        return self._store.num_labels

    @property
    def sizes(self) -> IntArray:
        """Number of rows with each label."""
        return self._current().index.size_L.copy()

    @property
    def index(self) -> RankIndex:
        """The rows by label; it shows this version until the next `put`."""
        return self._current().index

    @property
    def hash(self) -> int:
        """The `hash_rows` of this version."""
        return self._current().hash.value(self._store.array)

    @property
    def hash_fits(self) -> bool:
        """Whether the hash that followed every change is that of the rows."""
        return self._current().hash.fits(self._store.array)

    def put(self, rows: IntArray, values: Any) -> PersistentArray:
        """A version with other values in distinct rows, shape (P,)."""
        newer = object.__new__(PersistentArray)
        newer._store, newer._newer, newer._rows, newer._before = self._current(), None, None, None
        self._before = self._store.write(rows, values)
        self._newer, self._rows = newer, rows
        return newer

    def replaced(self, values: npt.NDArray[Any]) -> PersistentArray:
        """An array of other values and the same labels, in memory of its own."""
        return PersistentArray(values, self.labels)

    def _current(self) -> _Store:
        """The memory, after it was made to hold this version."""
        if self._newer is not None:
            versions: list[PersistentArray] = [self]
            while (newer := versions[-1]._newer) is not None:
                versions.append(newer)
            for older, newer in zip(versions[-2::-1], versions[:0:-1], strict=True):
                newer._before = self._store.write(older._rows, older._before)
                newer._newer, newer._rows = older, older._rows
                older._newer = older._rows = older._before = None
        return self._store
