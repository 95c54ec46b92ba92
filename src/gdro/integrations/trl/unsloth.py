"""Unsloth, which replaces TRL's trainer when it is imported, and changes what a batch holds."""

from __future__ import annotations

from typing import Any

import trl

from gdro.errors import UnsupportedError
from gdro.integrations.trl.config import GDROConfig
from gdro.strategy import Strategy

_PREFIXES = ("Unsloth", "_Unsloth")


def check_unsloth(trainer: type, config: Any, strategy: Strategy[Any]) -> None:
    """Refuse what cannot work with Unsloth; does nothing where it was not imported.

    Args:
        trainer: Class of the trainer.
        config: The trainer's `args`.
        strategy: The strategy.

    Raises:
        UnsupportedError: Unsloth was imported too late to be used, or the strategy or config cannot be
            combined with it.
    """
    current: Any = vars(trl).get("GRPOTrainer", object)  # what Unsloth put there, if it was imported
    if not any(kind.__name__.startswith(_PREFIXES) for kind in trainer.__mro__):
        if current.__name__.startswith(_PREFIXES):
            raise UnsupportedError(
                "unsloth was imported after gdro.integrations.trl, so this trainer is TRL's own and not "
                "Unsloth's; write `import unsloth` above every import of trl and gdro"
            )
        return
    if isinstance(config, GDROConfig):
        raise UnsupportedError(
            "args is a GDROConfig, which skips what Unsloth's own config checks and adds; pass a "
            "trl.GRPOConfig, and the fields of gdro as arguments of the trainer"
        )
    if strategy.remembers or strategy.extends:
        raise UnsupportedError(
            f"strategy {strategy.name!r} has a memory or further rounds, which put rows into the batch; "
            "Unsloth shifts the padding of its rows in a way that gdro does not know. Pass "
            "strategy='rollout-gdro' or another without either, or leave Unsloth out"
        )
