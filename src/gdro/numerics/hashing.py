"""Hashes of prompt keys and of rows: 64 bits, vectorised, stable across processes and versions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 15  # keys or rows hashed at once: bounds the memory that long ones take
_MODULUS = 1 << 64


def mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection with full avalanche."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash_keys(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """64-bit hashes of N strings, shape (N,); the hash of a key does not depend on the other keys.

    >>> bool(hash_keys(["a", "b"])[1] == hash_keys(["b"])[0])
    True
    """
    chunks = [_hash_chunk(keys[i : i + _CHUNK]) for i in range(0, len(keys), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.uint64)


def _hash_chunk(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    """One character of every key at a time, keys ordered so that the unfinished ones are a prefix."""
    length_N = np.fromiter(map(len, keys), np.int64, len(keys))
    code_C = np.frombuffer("".join(keys).encode("utf-32-le", "surrogatepass"), np.uint32)
    order_N = np.argsort(-length_N, kind="stable")
    start_N = (np.cumsum(length_N) - length_N)[order_N]
    # The length goes in first: a key never collides with its own prefix by design.
    state_N = mixed(length_N[order_N].astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    columns = np.arange(int(length_N.max(initial=0)), dtype=np.int64)
    live_C = np.searchsorted(-length_N[order_N], -columns, side="left")
    for column, live in zip(columns.tolist(), live_C.tolist(), strict=True):
        state = state_N[:live]
        state ^= code_C[start_N[:live] + column]
        state *= np.uint64(0xD6E8FEB86659FD93)
        state ^= state >> np.uint64(32)
    hash_N = np.empty(len(keys), np.uint64)
    hash_N[order_N] = mixed(state_N)
    return hash_N


def hash_rows(array: npt.NDArray[Any], rows: npt.NDArray[np.int64] | None = None) -> int:
    """Sum modulo 2^64 of a hash of each row with its number, of an array with N rows.

    The sum does not depend on the order of the rows, so that it can follow changes of single rows. Two
    arrays that differ have the same sum by a chance of 2^-64.

    Args:
        array: The rows, shape (P, ...).
        rows: Their numbers, shape (P,); None: 0 to N - 1.

    >>> a = np.array([1.5, 2.5])
    >>> hash_rows(a) == (hash_rows(a[:1], np.array([0])) + hash_rows(a[1:], np.array([1]))) % 2**64
    True
    """
    if rows is not None:
        return int(_hashes(array, rows).sum(dtype=np.uint64))
    starts = range(0, len(array), _CHUNK)
    chunks = ((array[i : i + _CHUNK], np.arange(i, min(i + _CHUNK, len(array)))) for i in starts)
    return sum(hash_rows(chunk, rows) for chunk, rows in chunks) % _MODULUS


def _hashes(array: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash of each row with its number, shape (P,)."""
    state = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for word in _words(array):
        state *= np.uint64(0xD6E8FEB86659FD93)
        state ^= state >> np.uint64(32)
        state ^= word
    return mixed(state * np.uint64(0xD6E8FEB86659FD93))


def _words(array: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The bytes of each row as words of 8 bytes, filled up with zeros, shape (words, P)."""
    num = array.itemsize * prod(array.shape[1:])
    byte = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), num)
    if num % 8:
        whole = np.zeros((len(byte), -(-num // 8) * 8), np.uint8)
        whole[:, :num] = byte
        byte = whole
    return byte.view(np.uint64).T


class RunningHash:
    """The `hash_rows` of an array, which follows changes once it was asked for."""

    def __init__(self) -> None:
        self._sum: int | None = None

    @property
    def active(self) -> bool:
        """Whether the hash was asked for, so that changes are followed."""
        return self._sum is not None

    def value(self, array: npt.NDArray[Any]) -> int:
        """The hash of the array; takes O(N) the first time."""
        if self._sum is None:
            self._sum = hash_rows(array)
        return self._sum

    def change(
        self, rows: npt.NDArray[np.int64], before: npt.NDArray[Any], after: npt.NDArray[Any]
    ) -> None:
        """Follow a change of distinct rows, from `before` to `after`, shape (P, ...) each."""
        if self._sum is not None:
            # Both at once: on few rows the number of calls is what takes time.
            hashes = _hashes(np.concatenate([before, after]), np.concatenate([rows, rows]))
            old, new = hashes.reshape(2, -1).sum(axis=1, dtype=np.uint64).tolist()
            self._sum = (self._sum + new - old) % _MODULUS

    def fits(self, array: npt.NDArray[Any]) -> bool:
        """Whether the hash that followed all changes is that of the array, computed anew."""
        return self._sum is None or self._sum == hash_rows(array)
