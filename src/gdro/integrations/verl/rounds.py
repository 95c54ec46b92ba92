"""verl's replay buffer, from which a step takes several rounds if its strategy samples on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gdro.integrations.verl.queue import TRAIN, batch_of


class BufferInRounds:
    """A `ReplayBuffer` of verl whose batches have the rows of all rounds of a step.

    The trainer frees the memory of generation when `sample` returns, so all rounds must end before.

    Args:
        buffer: verl's `ReplayBuffer`.
        further: Gets the keys of all rows so far, submits the strategy's next round, and returns the
            number of its prompts, 0 if there is none.
        keep: Gets the same keys, deletes the rows beyond the size of the loss, and returns the rest.
    """

    def __init__(
        self, buffer: Any, further: Callable[[list[str]], int], keep: Callable[[list[str]], list[str]]
    ) -> None:
        self._buffer, self._further, self._keep = buffer, further, keep

    def sample(
        self, global_steps: int, partition_id: str, batch_size: int
    ) -> tuple[Any, dict[str, Any]]:
        """A batch and verl's metrics of it; batches of validation are not changed."""
        batch, metrics = self._buffer.sample(
            global_steps=global_steps, partition_id=partition_id, batch_size=batch_size
        )
        if partition_id != TRAIN:
            return batch, metrics
        tags = dict(zip(batch.keys, batch.tags, strict=True))
        while prompts := self._further(list(tags)):
            more, _ = self._buffer.sample(
                global_steps=global_steps, partition_id=partition_id, batch_size=prompts
            )
            tags |= zip(more.keys, more.tags, strict=True)
        return batch_of({key: tags[key] for key in self._keep(list(tags))}), metrics
