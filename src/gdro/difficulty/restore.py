"""A difficulty tracker with the state of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.checkpoint.codec import required
from gdro.difficulty.categories import Categories
from gdro.difficulty.tracker import Difficulty, DifficultyTracker
from gdro.errors import CheckpointError, KeysError
from gdro.problem import Problem
from gdro.types import UNSEEN

_MOST_VISITS = np.iinfo(np.int32).max


def restored_tracker(
    config: Difficulty,
    problem: Problem,
    arrays: Mapping[str, npt.NDArray[Any]],
    remap: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]],
    categories: Categories,
) -> DifficultyTracker:
    """A tracker with the state of a checkpoint, whose arrays are named `difficulty/...`.

    `remap` moves rows of a saved array to their prompts' places in the current dataset.

    Raises:
        CheckpointError: An array is missing, or has a wrong shape, type or value.
        KeysError: Prompts changed their category and `categories` are exact.
    """
    tracker = DifficultyTracker(config, problem)
    fresh = _fresh_predictor(tracker, arrays, categories)
    values: dict[str, npt.NDArray[Any]] = dict(fresh)
    for name, own in tracker.arrays().items():
        if name in fresh:
            continue
        saved = required(arrays, f"difficulty/{name}")
        if categories.changed:
            saved, own = _recoded(name, saved, own, categories)
        values[name] = remap(saved, own) if "_N" in name else saved
        if values[name].shape != own.shape or values[name].dtype != own.dtype:
            raise CheckpointError(
                f"difficulty/{name} has shape {saved.shape} and dtype {saved.dtype} in the checkpoint, "
                f"this tracker needs {own.shape} {own.dtype}; use the options it was written with"
            )
    _check_values(values, categories.num_bins)
    values["bin_N"] = categories.bins(values["bin_N"]).astype(tracker.bin_N.dtype, copy=False)
    tracker.load_arrays(values)
    return tracker


def _fresh_predictor(
    tracker: DifficultyTracker, arrays: Mapping[str, npt.NDArray[Any]], categories: Categories
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a predictor that starts over, because its columns have other values than before.

    Raises:
        KeysError: They have, and keys are exact.
    """
    if tracker.predictor is None:
        return {}
    own = tracker.predictor.arrays()
    saved = required(arrays, "difficulty/predictor_coding")
    if np.array_equal(saved, own["predictor_coding"]):
        return {}
    if categories.keys == "exact":
        raise KeysError(
            "the columns of the predictor have other values than in the checkpoint",
            "start the predictor over",
            "load the columns that it was written with",
        )
    return own


def _recoded(
    name: str, saved: npt.NDArray[Any], own: npt.NDArray[Any], categories: Categories
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A saved array and the current one, made comparable where the categories differ."""
    if name == "prior" and saved.ndim == 1 and not len(saved) % 2:
        halves = zip(np.split(saved, 2), np.split(own, 2), strict=True)
        return np.concatenate([categories.rows(*half) for half in halves]), own
    if name == "bin_N" and saved.dtype.kind == "i":  # fewer bins may take fewer bytes
        return saved.astype(np.int64), own.astype(np.int64)
    return saved, own


def _check_values(values: Mapping[str, npt.NDArray[Any]], num_bins: int) -> None:
    """Raise for values that no run produces, such as indices out of range."""
    ranges = {"visits_N": (0, _MOST_VISITS), "bin_N": (UNSEEN, num_bins - 1)}
    for name, value in values.items():
        if name.startswith("predictor"):
            continue  # its own `load` checks it
        low, high = ranges.get(name, (0, np.finfo(np.float32).max))
        # A NaN is neither above nor below.
        if value.size and not (float(value.min()) >= low and float(value.max()) <= high):
            raise CheckpointError(
                f"difficulty/{name} spans {value.min()}..{value.max()} in the checkpoint, allowed are "
                f"{low}..{high}; it is damaged, go back to an earlier one"
            )
