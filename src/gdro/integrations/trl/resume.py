"""Resuming from a checkpoint of gdro or of a plain GRPOTrainer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, get_args

from gdro.errors import CheckpointError, KeysError, SettingsError, UnsupportedError
from gdro.integrations.trl.checkpoints import STATE_FILE, is_plain_grpo
from gdro.integrations.trl.start import say
from gdro.memory.store import STORE_FILE, RolloutStore, StoredRollout

ResumeKeys = Literal["exact", "match", "fresh"]


def check_resume_keys(resume_keys: str) -> None:
    """Raise an UnsupportedError for an unknown way to resume."""
    if resume_keys not in get_args(ResumeKeys):
        raise UnsupportedError(
            f"resume_keys is {resume_keys!r}; allowed: 'exact' (the dataset of the checkpoint), "
            "'match' (follow the rows that both have), 'fresh' (its weights, and a controller that "
            "knows nothing yet)"
        )


def restore(trainer: Any, folder: Path, resume_keys: ResumeKeys) -> None:
    """Load what a trainer of gdro saved in a checkpoint beside the weights, and open the log.

    Raises:
        CheckpointError: A file is missing or damaged, or of another strategy or dataset.
    """
    if resume_keys == "fresh" or is_plain_grpo(folder):
        warn_fresh(trainer, folder, resume_keys)
        trainer._gdro_open_log()
        return
    memory, controller = trainer._gdro_memory, trainer.controller
    # Read and checked before the controller is loaded: a refused checkpoint changes nothing.
    remembered = [] if memory is None else read_memory(memory.store, folder)
    trainer._gdro_judging.judge.load(folder)
    trainer._gdro_open_log(resumed=True)
    follow(trainer, folder, resume_keys)
    if memory is not None:
        memory.store.take(remembered)
    for ticket in controller.open_tickets:
        controller.abandon(ticket)  # saved inside its batch, which is generated again


def warn_fresh(trainer: Any, folder: Path, resume_keys: ResumeKeys) -> None:
    """Warn that a resumed training starts with a new controller, and why."""
    if not trainer.accelerator.is_main_process:
        return
    asked = resume_keys == "fresh"
    why = "resume_keys='fresh'" if asked else f"a GRPOTrainer wrote it: it has no {STATE_FILE}"
    warnings.warn(
        f"{folder}: weights, optimizer and step go on, beliefs of the prompts start anew ({why})",
        stacklevel=4,
    )


def read_memory(store: RolloutStore, folder: Path) -> list[tuple[int, tuple[StoredRollout, ...]]]:
    """The remembered rollouts of a checkpoint, for `RolloutStore.take`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    if (folder / STATE_FILE).is_file() and not (folder / STORE_FILE).is_file():
        raise CheckpointError(
            f"{folder} has no {STORE_FILE}: the strategy that wrote it has no memory, or the file is "
            "lost; resume with the strategy that wrote it, or pass resume_keys='fresh' to the trainer"
        )
    return store.read(folder / STORE_FILE)


def follow(trainer: Any, folder: Path, resume_keys: Literal["exact", "match"]) -> None:
    """Load the controller of a checkpoint, and print which of its prompts are still there.

    Raises:
        CheckpointError: The file is missing or damaged, or of another strategy or dataset.
    """
    try:
        match = trainer.controller.load(folder / STATE_FILE, keys=resume_keys)
    except KeysError as error:
        raise CheckpointError(_in_words(error)) from error
    except SettingsError as error:
        fresh = "pass resume_keys='fresh' to the trainer: its weights go on, beliefs start anew"
        raise CheckpointError(error.message(fresh)) from error
    if not match.same:
        say(f"gdro: {folder.name}: {match}", trainer)


def _in_words(error: KeysError) -> str:
    """The error with what a user of the trainer can do about a changed pool."""
    text = error.message("Pass resume_keys='match' to the trainer")
    if error.follow:
        return text
    return (
        f"{text}, with the same columns or the same id_column (without one, a key is a hash of the "
        "whole row). Or pass resume_keys='fresh' to the "
        "trainer: its weights go on, beliefs of the prompts start anew"
    )
