"""The digest of a controller's state, which ranks compare: it costs as much as the rows that changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from gdro.checkpoint.codec import Arrays, leaves
from gdro.difficulty.tracker import DifficultyTracker
from gdro.errors import StrategyError
from gdro.numerics.persistent import PersistentArray


def digest(header: dict[str, Any], state: Any, tracker: DifficultyTracker, plans: Arrays) -> str:
    """A hash of a whole state, 32 hexadecimal digits, equal on two ranks exactly if their states are.

    An array with one row per prompt enters by a hash of 64 bits that follows its changes; two that
    differ have the same one by a chance of 2^-64. Everything else is read whole.

    Args:
        header: Settings and counts as JSON data.
        state: State of the strategy.
        tracker: The beliefs.
        plans: Plans in flight as arrays.
    """
    hashes = {f"difficulty/{name}": value for name, value in tracker.hashes().items()}
    arrays: Arrays = {**plans, "difficulty/prior": tracker.prior.array()}
    for name, leaf in leaves(state, "strategy"):
        if isinstance(leaf, PersistentArray):
            hashes[name] = leaf.hash
        else:
            arrays[name] = np.asarray(leaf)
    hasher = hashlib.blake2b(json.dumps([header, hashes], sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(array.view(np.uint8).data if array.size and array.ndim else array.tobytes())
    return hasher.hexdigest()


def check_hashes(strategy: str, state: Any, tracker: DifficultyTracker) -> None:
    """Compare the hashes that followed every step, if digests were taken, with the arrays themselves.

    Raises:
        StrategyError: They differ, so earlier digests were not of the state.
    """
    parts = [leaf for _, leaf in leaves(state, "strategy") if isinstance(leaf, PersistentArray)]
    if not (tracker.hashes_fit() and all(part.hash_fits for part in parts)):
        raise StrategyError(
            f"the state of {strategy!r} was changed in place, so the digests of its steps were wrong "
            "and ranks may differ; change arrays by `put` or on a copy, and resume from an earlier "
            "checkpoint"
        )
