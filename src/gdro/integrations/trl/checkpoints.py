"""Which of a trainer's checkpoints are whole, and which a plain GRPOTrainer wrote."""

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
from gdro.memory.store import STORE_FILE

STATE_FILE = "gdro.npz"
_ARCHIVES = (".pt", ".pth", ".bin")


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Turn errors of writing a checkpoint inside the block into one that names the file.

    If the disk is full, torch raises RuntimeError and leaves a truncated archive; any other RuntimeError
    (of a collective, say) is not changed. safetensors has an error class of its own.

    Raises:
        CheckpointError: A file cannot be written.
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
    """The file that was being written, which errors of torch and safetensors do not name."""
    if isinstance(error, SafetensorError):  # it deletes its partial file
        return folder / "*.safetensors"
    # torch writes the end of an archive last.
    torn = sorted(p for p in folder.glob("*") if p.suffix in _ARCHIVES and not is_zipfile(p))
    return torn[0] if torn else folder if isinstance(error, OSError) else None


def mark_incomplete(folder: Path) -> None:
    """Delete the state file of a checkpoint that is about to be overwritten.

    The trainer writes that file last, so a folder without it was cut off.
    """
    (folder / TRAINER_STATE_NAME).unlink(missing_ok=True)
    (folder / STORE_FILE).unlink(missing_ok=True)  # the strategy may have no memory now


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest whole checkpoint of a run, None if there is none."""
    return _newest(output_dir)[0]


def passed_over(output_dir: str | Path) -> list[str]:
    """A line for each checkpoint newer than `last_checkpoint`, with the reason why it is skipped."""
    newest, torn = _newest(output_dir)
    instead = "the run starts afresh" if newest is None else f"going on from {Path(newest).name}"
    return [f"gdro: {folder} was passed over: {why}; {instead}" for folder, why in torn]


def _newest(output_dir: str | Path) -> tuple[str | None, list[tuple[Path, str]]]:
    """The newest whole checkpoint, and those after it with the fault of each."""
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
    """The checkpoint to resume from: True becomes the newest whole one, not one that a crash cut off.

    Raises:
        CheckpointError: `resume` is True, and there is no whole checkpoint.
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


def is_plain_grpo(folder: Path) -> bool:
    """Whether a trainer without gdro wrote a checkpoint: it has no file of ours, its last log no metric.

    Earlier lines of the log may have ours: a run may go from gdro to GRPOTrainer and back.
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
    if not ((folder / STATE_FILE).is_file() or is_plain_grpo(folder)):
        return f"it has no {STATE_FILE}: it was cut off, or the file is lost"
    return None


def _state(folder: Path) -> dict[str, Any] | None:
    """The trainer's state in a checkpoint; None if it is missing or damaged."""
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
