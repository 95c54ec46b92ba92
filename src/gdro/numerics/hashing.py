"""Hashes of prompt keys: 64 bits, vectorised, stable across processes and versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 15  # keys hashed at once: bounds the memory that long keys take


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
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
    state_N = _mix(length_N[order_N].astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    columns = np.arange(int(length_N.max(initial=0)), dtype=np.int64)
    live_C = np.searchsorted(-length_N[order_N], -columns, side="left")
    for column, live in zip(columns.tolist(), live_C.tolist(), strict=True):
        state = state_N[:live]
        state ^= code_C[start_N[:live] + column]
        state *= np.uint64(0xD6E8FEB86659FD93)
        state ^= state >> np.uint64(32)
    hash_N = np.empty(len(keys), np.uint64)
    hash_N[order_N] = _mix(state_N)
    return hash_N
