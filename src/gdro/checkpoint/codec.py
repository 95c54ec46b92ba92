"""Converts the state of any strategy, a dataclass of arrays and numbers, to named arrays and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gdro.common.schema import MOST_COUNT
from gdro.errors import CheckpointError
from gdro.numerics.persistent import PersistentArray

Arrays = dict[str, npt.NDArray[Any]]
Remap = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]
_LARGEST_FLOAT = 1e150  # products of two are finite
_BY_BIN = re.compile(r"_B[A-Z]*$")
T = TypeVar("T")


def within(low: float, high: float = np.inf) -> dict[str, tuple[float, float]]:
    """Metadata for a `field` of a state: checkpoints with values out of this range are refused."""
    return {"range": (low, high)}


def derived() -> dict[str, bool]:
    """Metadata for a `field` of a state that follows from the others: checkpoints do not hold it.

    `Strategy.restored` computes it anew.
    """
    return {"derived": True}


def leaves(state: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Arrays and numbers of a (nested) dataclass, not derived, by name: `prefix/field[/field]`."""
    for part in fields(state):
        value, name = getattr(state, part.name), f"{prefix}/{part.name}"
        if is_dataclass(value):
            yield from leaves(value, name)
        elif not part.metadata.get("derived"):
            yield name, _bounded(value)


def encode(state: Any, prefix: str) -> Arrays:
    """Copies of the arrays and numbers of a state by name."""
    return {name: np.array(value) for name, value in leaves(state, prefix)}


def _bounded(value: Any) -> Any:
    """A number no larger than `decode` takes; only made-up checkpoints lead to larger ones."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    most = MOST_COUNT if isinstance(value, int) else _LARGEST_FLOAT
    return max(-most, min(value, most)) if np.isfinite(value) else value


def decode(
    template: T,
    arrays: Mapping[str, npt.NDArray[Any]],
    prefix: str,
    remap: Remap | None = None,
    rows: Remap | None = None,
) -> T:
    """Rebuild a state from arrays that `encode` returned.

    Args:
        template: A state of the same class, from `Strategy.init`.
        arrays: Arrays by name.
        prefix: The prefix that was given to `encode`.
        remap: Moves rows of arrays by prompt (named `..._N`): (saved, fresh) -> array in the current
            order of prompts.
        rows: The same for arrays by bin (named `..._B`, or `..._B` with further axes).

    Raises:
        CheckpointError: A field is missing, or has a wrong shape or value.
    """
    values: dict[str, Any] = {}
    for part in fields(template):  # pyright: ignore[reportArgumentType]  # a dataclass instance
        own, name = getattr(template, part.name), f"{prefix}/{part.name}"
        if is_dataclass(own):
            values[part.name] = decode(own, arrays, name, remap, rows)
        elif part.metadata.get("derived"):
            values[part.name] = own
        else:
            follow = remap if name.endswith("_N") else rows if _BY_BIN.search(name) else None
            values[part.name] = _value(own, required(arrays, name), name, follow)
            _check_range(values[part.name], part, name)
    return type(template)(**values)


def required(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    """An array of a checkpoint; raises CheckpointError if it is missing."""
    if name not in arrays:
        raise CheckpointError(f"the checkpoint lacks {name!r}; it was written by another version")
    return arrays[name]


def _value(own: Any, saved: npt.NDArray[Any], name: str, follow: Remap | None) -> Any:
    if isinstance(own, PersistentArray):
        value = _value(own.array, saved, name, follow)
        if own.labels and value.size and not 0 <= int(value.min()) <= int(value.max()) < own.labels:
            raise CheckpointError(
                f"{name!r} spans {value.min()}..{value.max()} in the checkpoint, allowed are 0.."
                f"{own.labels - 1}; it is damaged, go back to an earlier one"
            )
        return own.replaced(value)
    if not isinstance(own, np.ndarray):
        return type(own)(_number(saved, np.asarray(own), name))
    fresh = cast("npt.NDArray[Any]", own)
    if follow is not None:
        saved = follow(saved, fresh)
    if saved.shape != fresh.shape or saved.dtype.kind != fresh.dtype.kind:
        raise CheckpointError(
            f"{name!r} has shape {saved.shape} and dtype {saved.dtype} in the checkpoint, this "
            f"controller needs {fresh.shape} {fresh.dtype}; use the options it was written with"
        )
    with np.errstate(all="ignore"):  # a wider number may not fit
        value = saved.astype(fresh.dtype)
    _check_finite(value, fresh, name)
    floats = value.dtype.kind == "f"
    same = np.isfinite(value) == np.isfinite(saved) if floats else value == saved
    if not bool(np.all(same)):
        raise CheckpointError(
            f"{name!r} holds numbers that do not fit {fresh.dtype}; the checkpoint is damaged, go back "
            "to an earlier one"
        )
    return value


def _number(saved: npt.NDArray[Any], own: npt.NDArray[Any], name: str) -> Any:
    # A whole number may have been saved where a float is meant.
    kinds = "biuf" if own.dtype.kind == "f" else "biu"
    scalar = saved.shape == () and saved.dtype.kind in kinds
    if not scalar or (kinds == "biu" and abs(int(saved)) > MOST_COUNT):
        raise CheckpointError(
            f"{name!r} is {saved!r:.60} in the checkpoint, this controller needs a number"
        )
    number = float(saved) if own.dtype.kind == "f" else saved.item()
    _check_finite(np.asarray(number), own, name)
    if np.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise CheckpointError(
            f"{name!r} is {number!r:.30}, at most {_LARGEST_FLOAT:g} is possible; the checkpoint is "
            "damaged, go back to an earlier one"
        )
    return number


def _check_finite(saved: npt.NDArray[Any], fresh: npt.NDArray[Any], name: str) -> None:
    """A state that starts finite stays finite: anything else is damage, and would make weights NaN."""
    if saved.dtype.kind == "f" and not bool(np.isfinite(saved).all()) and bool(np.isfinite(fresh).all()):
        raise CheckpointError(
            f"{name!r} holds values that are not finite; the checkpoint is damaged, go back to an "
            "earlier one"
        )


def _check_range(value: Any, part: Field[Any], name: str) -> None:
    low, high = part.metadata.get("range", (-np.inf, np.inf))
    value = value.array if isinstance(value, PersistentArray) else value
    if np.any(np.asarray(value) < low) or np.any(np.asarray(value) > high):
        raise CheckpointError(
            f"{name!r} holds values outside of {low:g} to {high:g}, which no run produces; the "
            "checkpoint is damaged, go back to an earlier one"
        )
