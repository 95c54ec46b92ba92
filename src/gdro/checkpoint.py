"""Checkpoint files: arrays and a JSON header in one npz, no pickle, renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gdro.codec import Arrays
from gdro.errors import CheckpointError

SCHEMA = 1

# What numpy's and zipfile's readers raise on bytes that are not what they should be.
_DAMAGE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


def identity(
    strategy: str, config: dict[str, Any], difficulty: dict[str, Any], seed: int
) -> dict[str, Any]:
    """What a checkpoint must share with the controller that reads it.

    Args:
        strategy: Name.
        config: Its options.
        difficulty: Options of the tracker.
        seed: The controller's.

    Returns:
        JSON data as a file would give it back, so that it compares equal before and after one.
    """
    data = {
        "schema": SCHEMA,
        "strategy": strategy,
        "config": config,
        "difficulty": difficulty,
        "seed": seed,
    }
    return json.loads(json.dumps(data))


def write(path: str | Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Write a checkpoint; readers see the old file or the whole new one, never a part.

    Args:
        path: Target file.
        header: JSON data.
        arrays: Arrays by name.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Read a checkpoint.

    Args:
        path: A file from `write`.

    Returns:
        The header and the arrays.

    Raises:
        CheckpointError: No such file, damaged, or holding Python objects.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"no checkpoint at {source}; pass a file that Controller.save wrote")
    if not zipfile.is_zipfile(source):
        raise CheckpointError(
            f"{source} is no readable gdro checkpoint (not an npz file); go back to an earlier one"
        )
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header: dict[str, Any] = json.loads(str(arrays.pop("header")))
    except _DAMAGE as error:
        raise CheckpointError(
            f"{source} is no readable gdro checkpoint ({error}); go back to an earlier one"
        ) from error
    return header, arrays


def check_header(header: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise unless a checkpoint belongs to this controller.

    Args:
        header: The checkpoint's.
        own: The controller's.

    Raises:
        CheckpointError: Schema, strategy, options, difficulty or seed differ; says which.
    """
    for key in ("schema", "strategy", "config", "difficulty", "seed"):
        saved, mine = header.get(key), own[key]
        if saved != mine:
            raise CheckpointError(
                f"the checkpoint has {key} {saved!r}, this controller has {mine!r}; resume with the "
                "same strategy, options and seed, or start without the checkpoint"
            )


def digest(header: dict[str, Any], arrays: Arrays) -> str:
    """A hash of a state, equal on two ranks exactly when their states are.

    Args:
        header: JSON data.
        arrays: Arrays by name.

    Returns:
        32 hexadecimal digits.
    """
    hasher = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(array.view(np.uint8).data if array.size and array.ndim else array.tobytes())
    return hasher.hexdigest()
