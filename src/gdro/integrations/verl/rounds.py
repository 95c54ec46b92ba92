"""verl's replay buffer, asked again within a step while a strategy samples on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gdro.integrations.verl.queue import TRAIN, batch_of


class BufferInRounds:
    """Hands out one batch a step, as the replay buffer that it wraps, of all rounds together.

    The trainer frees the rollouts' memory when `sample` returns, so that all generation is done by then.

    Args:
        buffer: verl's `ReplayBuffer`.
        further: Gets the keys of all rows so far, submits what the strategy asks for, and answers with
            the number of its prompts, 0 when there is enough.
        keep: Gets the same keys, clears the rows that the loss has no room for, and answers with those
            that stay.
    """

    def __init__(
        self, buffer: Any, further: Callable[[list[str]], int], keep: Callable[[list[str]], list[str]]
    ) -> None:
        self._buffer, self._further, self._keep = buffer, further, keep

    def sample(
        self, global_steps: int, partition_id: str, batch_size: int
    ) -> tuple[Any, dict[str, Any]]:
        """A batch and verl's metrics of it; validation is left alone."""
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
