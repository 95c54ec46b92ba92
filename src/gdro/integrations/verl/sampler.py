"""A sampler for verl's data loader: the controller selects the prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from typing import Any

from torch.utils.data import Sampler

from gdro.numerics.arrays import IntArray


class PlanSampler(Sampler[int]):
    """Yields the prompts of one plan after another, without end.

    `draw` makes the next plan when the loader asks for its first prompt, no earlier.
    """

    def __init__(self, dataset: Sized, draw: Callable[[], IntArray]) -> None:
        self._dataset, self._draw = dataset, draw

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from self._draw().tolist()

    def state_dict(self) -> dict[str, Any]:
        """Empty: the state is in the controller's checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore; without this method the loader would draw all earlier plans again."""
