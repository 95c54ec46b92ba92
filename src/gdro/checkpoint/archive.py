"""Checkpoint files: arrays and a JSON header in one npz, without pickle, renamed into place."""

from __future__ import annotations

import json
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from gdro.checkpoint.codec import Arrays
from gdro.common.files import parsed, replacing, sync
from gdro.common.schema import LARGEST, MOST_COUNT, is_count
from gdro.errors import CheckpointError, SettingsError

SCHEMA = 1

# What the readers of numpy and zipfile raise on damaged bytes.
_OF_PYTHON = (OSError, ValueError, LookupError, EOFError, RuntimeError, SyntaxError, TypeError)
_OF_LIBRARIES = (zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError)
_DAMAGE = (*_OF_PYTHON, *_OF_LIBRARIES, MemoryError, OverflowError)
# Lists and mappings in a header: each takes dozens of bytes of memory for two or three of text.
_MOST_PARTS = 1 << 15


_ARRAY_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, Any]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def identity(
    strategy: str, config: dict[str, Any], difficulty: dict[str, Any], seed: int
) -> dict[str, Any]:
    """What a checkpoint must share with the controller that reads it, as JSON data of a file."""
    data = {
        "schema": SCHEMA,
        "strategy": strategy,
        "config": config,
        "difficulty": difficulty,
        "seed": seed,
    }
    return json.loads(json.dumps(data))


def write(path: str | Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Write a checkpoint; readers see the old file or the complete new one.

    Raises:
        CheckpointError: The disk is full, or the folder is not writable.
    """
    target = Path(path)
    try:
        with replacing(target, durable=True) as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)  # pyright: ignore[reportArgumentType]
        sync(target.parent)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {target} ({error.strerror or error}); an earlier file there is intact. Free "
            "space, or choose a writable folder, and resume from the last checkpoint"
        ) from error


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of a checkpoint.

    Raises:
        CheckpointError: The file is missing, damaged or holds Python objects.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"no checkpoint at {source}; pass a file that Controller.save wrote")
    try:
        if not zipfile.is_zipfile(source):
            raise ValueError("not an npz file")
        _check_members(source)
        # Not np.load, which takes time in proportion to the number of arrays to find one by name.
        with zipfile.ZipFile(source) as file:
            header = _header(_array(file, "header").item())
            names = [member.filename.removesuffix(".npy") for member in file.infolist()]
            arrays = {name: _array(file, name) for name in names if name != "header"}
    except _DAMAGE as error:
        why = str(error) or type(error).__name__
        raise CheckpointError(
            f"{source} is not a readable gdro checkpoint ({why:.300}); go back to an earlier one"
        ) from error
    return header, arrays


def _array(file: zipfile.ZipFile, name: str) -> Any:
    with file.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _header(text: Any) -> dict[str, Any]:
    if not isinstance(text, str) or text.count("[") + text.count("{") > _MOST_PARTS:
        raise ValueError("its header is not one that gdro writes")
    header = parsed(text)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return cast("dict[str, Any]", header)


def _check_members(source: Path) -> None:
    """Refuse, before anything is allocated, a file that claims more than it holds.

    `write` never compresses, so arrays take no more memory than the file takes on disk. The header has
    four bytes per character in the file and takes at most three times that while it is read.
    """
    with zipfile.ZipFile(source) as file:
        members = file.infolist()
        if len({member.filename for member in members}) < len(members):
            raise ValueError("it has two arrays of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed, which gdro never writes")
        if sum(member.file_size for member in members) > source.stat().st_size:
            raise ValueError("its arrays claim more bytes than the file has")
        for member in members:
            with file.open(member) as stream:
                _check_array(stream, member)


def _check_array(stream: IO[bytes], member: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(stream)
    shape, _, dtype = _ARRAY_HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds a pickle, which is never opened")
    text = member.filename == "header.npy" and dtype.kind == "U"
    if not text and (dtype.kind not in "biuf" or dtype.itemsize > 8):
        raise ValueError(f"{member.filename} has type {dtype}, which gdro never writes")
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
        raise ValueError(f"{member.filename} claims a shape of {shape}, which its bytes do not fill")


def parts(state: Mapping[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of a `state_dict`, copied: two controllers may load the same state.

    Raises:
        CheckpointError: The state lacks one of them.
    """
    header, arrays = state.get("header"), state.get("arrays")
    if not isinstance(header, Mapping) or not isinstance(arrays, Mapping):
        raise CheckpointError(
            f"the state has {sorted(map(str, state))}; it needs `header` and `arrays`, as from "
            "state_dict()"
        )
    named = cast("Mapping[str, Any]", arrays)
    copies = {name: np.array(value) for name, value in named.items()}
    return dict(cast("Mapping[str, Any]", header)), copies


def check_header(header: dict[str, Any], own: dict[str, Any]) -> None:
    """Raise SettingsError with the differences unless a header has the controller's `identity`."""
    for key in ("schema", "strategy", "config", "difficulty", "seed"):
        saved, mine = header.get(key), own[key]
        if saved != mine:
            texts = _differences(own["strategy"] if key == "config" else key, saved, mine)
            raise SettingsError(f"the checkpoint has {' and '.join(texts)}")


def _differences(name: str, saved: Any, mine: Any) -> list[str]:
    """Differences between two values; the options of a strategy are compared one by one."""
    if not (isinstance(saved, dict) and isinstance(mine, dict)):
        return [f"{name} {saved!r:.80}, this controller {mine!r:.80}"]
    saved, mine = cast("dict[str, Any]", saved), cast("dict[str, Any]", mine)
    if saved.get("name") != mine.get("name"):
        return [f"{name} {saved.get('name')!r:.80}, this controller {mine.get('name')!r:.80}"]
    name = saved.get("name", name)
    options = [o for o in dict.fromkeys([*saved, *mine]) if saved.get(o) != mine.get(o)]
    return [text for o in options for text in _differences(f"{name}.{o}", saved.get(o), mine.get(o))]


def check_values(header: dict[str, Any]) -> None:
    """Raise CheckpointError unless tickets and metrics have the types that `Controller.save` writes."""
    following, tickets, metrics = (header.get(name) for name in ("next_ticket", "pending", "metrics"))
    fine = {
        "next_ticket": is_count(following, MOST_COUNT),
        "pending": is_count(following) and _are_tickets(tickets, following),
        "metrics": isinstance(metrics, dict)
        and all(map(_is_metric, cast("dict[str, Any]", metrics).values())),
    }
    bad = next((name for name, good in fine.items() if not good), None)
    if bad is not None:
        raise CheckpointError(
            f"the checkpoint's header has {bad} {header.get(bad)!r:.60}; it is damaged, go back to an "
            "earlier one"
        )


def _are_tickets(value: Any, following: Any) -> bool:
    tickets = cast("list[Any]", value) if isinstance(value, list) else [None]
    return all(is_count(t, following - 1) for t in tickets) and len(set(tickets)) == len(tickets)


def _is_metric(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= LARGEST)
