"""Saved models: their card names gdro, and only their owner can read the training arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINING_ARGS_NAME

from gdro import __version__
from gdro.common.files import write_text
from gdro.controller import Controller

_NO_BASE = "a fine-tuned version of [None](https://huggingface.co/None)"
_BEFORE = "### Framework versions"


class Card:
    """Mixed in before a TRL trainer; the trainer has a `controller`."""

    controller: Controller

    def _save(self: Any, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Save as the trainer does; only its owner can read `training_args.bin` with `hub_token`."""
        if self.args.should_save:
            private(Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME)
        super()._save(output_dir, state_dict)  # pyright: ignore[reportAttributeAccessIssue]

    def create_model_card(self: Any, *args: Any, **kwargs: Any) -> None:
        """Write the trainer's card, with a paragraph on gdro and its strategy."""
        super().create_model_card(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if self.is_world_process_zero():
            path = Path(self.args.output_dir) / "README.md"
            write_text(path, completed(path.read_text("utf-8"), self.controller))


def private(path: Path) -> None:
    """Create an empty file that only its owner can read, for a library that opens it to write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link, or one that others may read
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def completed(card: str, controller: Controller) -> str:
    """A card with a paragraph on gdro; the base model of a local folder is not called `None`."""
    strategy = controller.strategy
    did = "planned its rollouts" if controller.apply else "watched it (shadow mode, plain GRPO)"
    text = (
        f"gdro {__version__} {did}: strategy `{strategy.name}`, options "
        f"`{json.dumps(strategy.config())}`, seed {controller.seed}."
    )
    before, mark, after = card.replace(_NO_BASE, "a fine-tuned local model").partition(_BEFORE)
    return f"{before.rstrip()}\n\n{text}\n\n{mark}{after}"
