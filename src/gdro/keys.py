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
    """Hash strings to 64 bits.

    Args:
        keys: N strings.

    Returns:
        Hashes, shape (N,), dtype uint64; a key's hash does not depend on the other keys.

    >>> bool(hash_keys(["a", "b"])[1] == hash_keys(["b"])[0])
    True
    """
    chunks = [_hash_chunk(keys[i : i + _CHUNK]) for i in range(0, len(keys), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.uint64)


def _hash_chunk(keys: Sequence[str]) -> npt.NDArray[np.uint64]:
    # A terminator keeps trailing NUL characters, which numpy would strip.
    text = np.array([key + "\x01" for key in keys], dtype=np.str_)
    code = text.view(np.uint32).reshape(len(keys), -1).astype(np.uint64)
    state = np.full(len(keys), 0x9E3779B97F4A7C15, np.uint64)
    length = np.array([len(key) + 1 for key in keys])
    for column in range(code.shape[1]):
        mixed = _mix(state ^ (code[:, column] + np.uint64(1)))
        state = np.where(column < length, mixed, state)
    return state
