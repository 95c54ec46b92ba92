"""Mini-batches of any number of rows, in asynchronous modes of verl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig


@dataclass(frozen=True)
class MiniBatches:
    """How a batch is cut: every rank gets as many rows, in micro-batches of one size.

    Stock verl pads to a multiple of a mini-batch of `rollout.n` rows a prompt: with a few rows more than
    usual it trains on nearly twice as many, and takes a step of the optimizer on almost nothing.

    Attributes:
        rows: Number of rows, padding included.
        mini: Number of rows of a mini-batch, over all ranks.
        micro_of: Number of rows of a micro-batch of each forward or update pass, by name.
    """

    rows: int
    mini: int
    micro_of: Mapping[str, int]

    @classmethod
    def of(cls, rows: int, ranks: int, num: int, most: Mapping[str, int]) -> MiniBatches:
        """Cut a batch into `num` mini-batches, with less than a row of padding for each micro-batch.

        Args:
            rows: Number of rows.
            ranks: Number of ranks that share them.
            num: Number of mini-batches.
            most: Most rows of a micro-batch of the pass `update`, and of others, which see all rows of a
                rank at once; empty if verl cuts micro-batches by tokens.

        >>> MiniBatches.of(70, 2, 1, {"update": 32, "log_prob": 64})
        MiniBatches(rows=72, mini=72, micro_of={'update': 18, 'log_prob': 36})
        >>> MiniBatches.of(131, 2, 2, {})
        MiniBatches(rows=132, mini=66, micro_of={})
        """
        share = -(-rows // (ranks * num))
        if not most:
            return cls(ranks * num * share, ranks * share, {})
        micros = -(-share // min(most.values()))
        size = -(-share // micros)
        # A pass takes several micro-batches of that size together where its own limit allows it.
        parts = {name: micros if name == "update" else num * micros for name in most}
        micro_of = {name: size * _divisor(parts[name], limit // size) for name, limit in most.items()}
        return cls(ranks * num * micros * size, ranks * micros * size, micro_of)

    @contextmanager
    def applied(self, config: DictConfig) -> Iterator[None]:
        """Inside, verl's configuration has these mini-batches, which the update of the actor reads."""
        actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
        before = actor.ppo_mini_batch_size, rollout.n
        actor.ppo_mini_batch_size, rollout.n = self.mini, 1
        try:
            yield
        finally:
            actor.ppo_mini_batch_size, rollout.n = before


def micro_limits(config: DictConfig, reference: bool) -> dict[str, int]:
    """Most rows of a micro-batch of each pass, for `MiniBatches.of`; empty if verl cuts by tokens."""
    parts: Any = config.actor_rollout_ref
    if parts.actor.use_dynamic_bsz:
        return {}
    limits = {
        "update": int(parts.actor.ppo_micro_batch_size_per_gpu),
        "log_prob": int(parts.rollout.log_prob_micro_batch_size_per_gpu),
    }
    if reference:
        limits["reference"] = int(parts.ref.log_prob_micro_batch_size_per_gpu)
    return limits


def _divisor(number: int, most: int) -> int:
    """The largest divisor up to a bound."""
    return next(d for d in range(max(1, min(number, most)), 0, -1) if number % d == 0)
