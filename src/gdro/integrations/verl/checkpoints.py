"""The controller and the memory in verl's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gdro.common.files import sync
from gdro.controller import Controller
from gdro.errors import CheckpointError, KeysError, SettingsError
from gdro.memory.store import STORE_FILE, RolloutStore

STATE_FILE = "gdro.npz"


def save(folder: Path, controller: Controller, store: RolloutStore | None) -> None:
    """Write the controller's state, then the memory (None: the strategy has none).

    An earlier memory in the folder goes first: a process that is killed between the files leaves a
    checkpoint without a memory, which `load` refuses, and never files of two runs.
    """
    if (folder / STORE_FILE).exists():
        (folder / STORE_FILE).unlink()
        sync(folder)
    controller.save(folder / STATE_FILE)
    if store is not None:
        store.save(folder / STORE_FILE)


def load(
    folder: Path, controller: Controller, store: RolloutStore | None, keys: Literal["exact", "match"]
) -> None:
    """Restore what `save` wrote; nothing changes if a file is missing, damaged or of another run.

    Raises:
        CheckpointError: Says which file, and how to go on.
    """
    fresh = "+gdro.resume=fresh to go on from its weights with a controller that knows nothing yet"
    if not (folder / STATE_FILE).is_file():
        raise CheckpointError(f"{folder} has no {STATE_FILE}: no trainer of gdro wrote it; pass {fresh}")
    if store is not None and not (folder / STORE_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {STORE_FILE}: the run was killed while it saved, or the strategy that "
            "wrote it has no memory; resume from an earlier step (trainer.resume_mode=resume_path "
            "trainer.resume_from_path=.../global_step_N), with the strategy that wrote it, or pass "
            f"{fresh}"
        )
    remembered = [] if store is None else store.read(folder / STORE_FILE)
    try:
        controller.load(folder / STATE_FILE, keys=keys)
    except KeysError as error:
        raise CheckpointError(error.message("Pass +gdro.resume=match")) from error
    except SettingsError as error:
        raise CheckpointError(error.message(f"pass {fresh}")) from error
    if store is not None:
        store.take(remembered)
