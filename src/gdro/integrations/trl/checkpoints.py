"""Which of a trainer's checkpoints are whole, and which are of a plain GRPOTrainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

from safetensors import SafetensorError
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from gdro.common.files import parsed
from gdro.errors import CheckpointError

STATE_FILE = "gdro.npz"
STORE_FILE = "gdro_memory.npz"
_ARCHIVES = (".pt", ".pth", ".bin")


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """The trainer writes its own files of a checkpoint inside: what fails is one clear error.

    torch says RuntimeError where the disk is full, and leaves an archive without an end; any other
    RuntimeError (of a collective, say) stays what it is. safetensors has an error of its own.

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
    """The newest whole checkpoint of a run, None if there is none."""
    return _newest(output_dir)[0]


def passed_over(output_dir: str | Path) -> list[str]:
    """A line for each checkpoint newer than `last_checkpoint`: it is none, and why."""
    newest, torn = _newest(output_dir)
    instead = "the run starts afresh" if newest is None else f"going on from {Path(newest).name}"
    return [f"gdro: {folder} was passed over: {why}; {instead}" for folder, why in torn]


def _newest(output_dir: str | Path) -> tuple[str | None, list[tuple[Path, str]]]:
    """The newest whole checkpoint, and those after it with what is wrong with each."""
    numbers = {
        p: int(number)
        for p in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (number := p.name.rpartition("-")[2]).isdecimal()
    }
    torn: list[tuple[Path, str]] = []
    for folder in sorted(numbers, key=numbers.__getitem__, reverse=True):
        why = _lacks(folder)
        if why is None:
            return str(folder), torn
        torn.append((folder, why))
    return None, torn


def resolved(
    resume: str | bool | None, output_dir: str | Path, say: Callable[[str], None] = print
) -> str | bool | None:
    """What to resume from: True becomes the newest whole checkpoint, not one that a crash cut off.

    Raises:
        CheckpointError: True, and there is no whole checkpoint.
    """
    if resume is not True:
        return resume
    newest, torn = _newest(output_dir)
    if newest is None:
        why = "".join(f" ({folder.name}: {what})" for folder, what in torn[:1])
        raise CheckpointError(
            f"no whole checkpoint in {output_dir}{why}; pass the path of one, or train from the start"
        )
    for line in passed_over(output_dir):
        say(line)
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


def _lacks(folder: Path) -> str | None:
    """Why a checkpoint cannot be resumed from; None if it is whole."""
    if not (folder / TRAINER_STATE_NAME).is_file():
        return f"it has no {TRAINER_STATE_NAME}, which is written last: it was cut off"
    if _state(folder) is None:
        return f"its {TRAINER_STATE_NAME} is damaged or was cut off"
    if not ((folder / STATE_FILE).is_file() or of_grpo(folder)):
        return f"it has no {STATE_FILE}: it was cut off, or the file is lost"
    return None


def _state(folder: Path) -> dict[str, Any] | None:
    """The trainer's state of a checkpoint; None if it is missing, was cut off, or is something else."""
    file = folder / TRAINER_STATE_NAME
    if not file.is_file():
        return None
    try:
        state = parsed(file.read_bytes())
    except ValueError:
        return None
    history = state.get("log_history", []) if isinstance(state, dict) else None
    if not isinstance(history, list) or not all(
        isinstance(line, dict) for line in cast("list[Any]", history)
    ):
        return None
    return cast("dict[str, Any]", state)
