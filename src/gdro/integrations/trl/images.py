"""Images in prompts and tool results, and which strategies cannot work with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdro.errors import UnsupportedError
from gdro.integrations.row_keys import holds_images
from gdro.strategy import Strategy

COLUMNS = ("image", "images")
"""Dataset columns that TRL reads images from; prompts may hold images, too."""


def check_images(train_dataset: Any, strategy: Strategy[Any]) -> None:
    """Refuse a dataset with images where a strategy would join rows of several batches.

    Raises:
        UnsupportedError: The strategy extends or remembers.
    """
    column = next((name for name in COLUMNS if name in train_dataset.column_names), None)
    if column is not None:
        _refuse(f"column {column!r} has images", strategy)
    elif holds_images(train_dataset.features):
        _refuse("prompts of train_dataset have images", strategy)


def check_pixels(batch: Mapping[str, Any], strategy: Strategy[Any]) -> None:
    """Refuse images in a batch, from a tool or an environment, as `check_images` does.

    Raises:
        UnsupportedError: The strategy extends or remembers.
    """
    if "pixel_values" in batch:
        _refuse("a batch has images", strategy)


def _refuse(what: str, strategy: Strategy[Any]) -> None:
    for used, does, fix in (
        (strategy.remembers, "has a memory, which stores tokens alone", "strategy='rollout-gdro'"),
        (
            strategy.extends,
            "samples on, and the patches of several rounds cannot be told apart by row",
            "a strategy that does not extend, e.g. strategy='rollout-gdro'",
        ),
    ):
        if used:
            raise UnsupportedError(
                f"{what}, and strategy {strategy.name!r} {does}; take {fix}, or remove the images"
            )
