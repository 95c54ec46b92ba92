"""Which of a trainer's checkpoints are whole, and which are of a plain GRPOTrainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import SafetensorError
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gdro.errors import CheckpointError

STATE_FILE = "gdro.npz"
STORE_FILE = "gdro_memory.npz"
_ARCHIVES = (".pt", ".pth", ".bin")


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """The trainer writes its own files of a checkpoint inside: what fails is one clear error.

    torch says RuntimeError where the disk is full, and leaves an archive without an end; any other
    RuntimeError (of a collective, say) stays what it is. safetensors has an error of its own.

    Args:
        folder: The checkpoint's.

    Raises:
        CheckpointError: A file cannot be written; names it, and the last whole checkpoint.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        file = getattr(error, "filename", None) or _torn(folder, error)
        if file is None:
            raise
        last = last_checkpoint(folder.parent)
        rest = "there is no whole one yet" if last is None else f"the last whole one is {last}"
        raise CheckpointError(
            f"the trainer could not write its checkpoint {folder.name}, at {file} ({error}); {rest}. "
            "Free space, or choose a folder that can be written, and train with "
            "resume_from_checkpoint=True"
        ) from error


def _torn(folder: Path, error: Exception) -> Path | None:
    """What was being written: torch's and safetensors' errors do not name it."""
    if isinstance(error, SafetensorError):  # takes its partial file away
        return folder / "*.safetensors"
    # torch writes archives, whose ends come last.
    found = sorted(p for p in folder.glob("*") if p.suffix in _ARCHIVES and not is_zipfile(p))
    if found:
        return found[0]
    return folder if isinstance(error, OSError) else None


def begin(folder: Path) -> None:
    """Take the mark of a whole checkpoint away from a folder that is about to be written.

    The trainer writes its state file last, so that a folder without one was cut off. A folder that
    stands there from before a crash would keep the mark while its files are replaced one by one.
    """
    (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
    (folder / STORE_FILE).unlink(missing_ok=True)  # the strategy may have no memory now


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest whole checkpoint of a run, None if there is none.

    Args:
        output_dir: The trainer's folder.
    """
    found = [p for p in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if _is_whole(p)]
    return str(max(found, key=lambda p: int(p.name.split("-")[-1]))) if found else None


def resolved(resume: str | bool | None, output_dir: str | Path) -> str | bool | None:
    """What to resume from: True becomes the newest whole checkpoint, not one that a crash cut off.

    Args:
        resume: The trainer's argument.
        output_dir: Its folder.

    Raises:
        CheckpointError: True, and there is no whole checkpoint.
    """
    if resume is not True:
        return resume
    newest = last_checkpoint(output_dir)
    if newest is None:
        raise CheckpointError(
            f"no whole checkpoint in {output_dir}; pass the path of one, or train from the start"
        )
    return newest


def of_grpo(folder: Path) -> bool:
    """Whether a checkpoint is of a trainer without gdro: it has nothing of ours, nor logged any last.

    Earlier lines may be ours: a run may go from gdro to GRPOTrainer and back.
    """
    if any((folder / name).exists() for name in (STATE_FILE, STORE_FILE)):
        return False
    history = (_state(folder) or {}).get("log_history", [])
    last = next((line for line in reversed(history) if "loss" in line), {})
    return not any(name.startswith("gdro/") for name in last)


def _is_whole(folder: Path) -> bool:
    return _state(folder) is not None and ((folder / STATE_FILE).is_file() or of_grpo(folder))


def _state(folder: Path) -> dict[str, Any] | None:
    """The trainer's state of a checkpoint; None if it is missing, or was cut off."""
    file = folder / TRAINER_STATE_NAME
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text())
    except ValueError:
        return None
