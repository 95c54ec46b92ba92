"""What is logged of the last closed plan, computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gdro.groups import Groups
from gdro.log import records
from gdro.numerics.arrays import FloatArray
from gdro.step.in_flight import Pending
from gdro.strategy import Strategy


@dataclass
class NoPlan:
    """No plan was closed yet, or none since a checkpoint, which keeps the metrics of its last one."""

    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    bins: dict[str, list[float | None]] = field(default_factory=dict[str, list[float | None]])


@dataclass
class ClosedPlan:
    """A plan that was closed, with the strategy's state after it.

    Attributes:
        groups: Its groups.
        pending: The plan with its weights.
        strategy: The strategy.
        state: State of the strategy.
        num_bins: Number of difficulty bins.
    """

    groups: Groups
    pending: Pending
    strategy: Strategy[Any]
    state: Any
    num_bins: int

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Scalars by name."""
        weight_P = records.weight(self.pending)
        return records.summary(self.groups, weight_P) | self.strategy.metrics(self.state)

    @cached_property
    def bins(self) -> dict[str, list[float | None]]:
        """Values by bin."""
        return records.bins(self.groups, records.weight(self.pending), self.num_bins)

    def record(
        self, extra: Mapping[str, float], ledger: Mapping[str, int], applied: bool
    ) -> dict[str, Any]:
        """The step's record in the run log; `extra` are further scalars."""
        by_bin = self.strategy.by_bin(self.state)
        return {
            "ticket": self.pending.plan.ticket,
            **extra,
            # Every step of the log has every name, with null where nothing was judged or scored.
            "metrics": {**dict.fromkeys(records.OF_VERDICTS + records.OF_REWARDS), **self.metrics},
            "bins": self.bins,
            "strategy": {name: value.tolist() for name, value in by_bin.items()},
            "ledger": ledger,
            "applied": applied,
            **records.shadow(self.pending.shadow_P),
        }

    def group_records(self, predicted_P: FloatArray, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The records of its groups, see `records.group_records`."""
        return records.group_records(self.groups, records.weight(self.pending), predicted_P, keys)
