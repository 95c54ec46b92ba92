"""What the card of a saved model says of gdro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gdro import __version__
from gdro.controller import Controller
from gdro.files import write_text

_NO_BASE = "a fine-tuned version of [None](https://huggingface.co/None)"
_BEFORE = "### Framework versions"


class Card:
    """Mixed in before a TRL trainer; the trainer has a `controller`."""

    controller: Controller

    def create_model_card(self: Any, *args: Any, **kwargs: Any) -> None:
        """As the trainer's, and names gdro with its strategy."""
        super().create_model_card(*args, **kwargs)
        if self.is_world_process_zero():
            path = Path(self.args.output_dir) / "README.md"
            write_text(path, completed(path.read_text("utf-8"), self.controller))


def completed(card: str, controller: Controller) -> str:
    """A card with a paragraph on gdro, and without the base model `None` of a local folder."""
    strategy = controller.strategy
    did = "planned its rollouts" if controller.apply else "watched it (shadow mode, plain GRPO)"
    text = (
        f"gdro {__version__} {did}: strategy `{strategy.name}`, options "
        f"`{json.dumps(strategy.config())}`, seed {controller.seed}."
    )
    before, mark, after = card.replace(_NO_BASE, "a fine-tuned local model").partition(_BEFORE)
    return f"{before.rstrip()}\n\n{text}\n\n{mark}{after}"
