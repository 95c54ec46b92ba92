"""Plans in flight, and how they are saved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.codec import Arrays, required
from gdro.types import FloatArray, IntArray, Plan, frozen


@dataclass
class Pending:
    """A plan in flight.

    Attributes:
        plan: The plan.
        shadow_P: What the strategy would have allocated, in shadow mode, shape (P,).
        weight_P: Mean weight that `weigh` gave each prompt, shape (P,).
        discarded: Rollouts that `weigh` dropped.
    """

    plan: Plan
    shadow_P: IntArray | None = None
    weight_P: FloatArray | None = None
    discarded: int = 0


_PLAN_ARRAYS = {
    "prompt_P": np.int64, "rollouts_P": np.int64, "bin_P": np.int64, "importance_P": np.float64,
}  # fmt: skip


def encode_pending(ticket: int, pending: Pending) -> Arrays:
    """Arrays of a plan in flight, named `pending/<ticket>/...`."""
    optional = {"shadow_P": pending.shadow_P, "weight_P": pending.weight_P}
    arrays: Arrays = {name: getattr(pending.plan, name) for name in _PLAN_ARRAYS}
    arrays |= {name: np.zeros(0) if v is None else v for name, v in optional.items()}
    arrays["discarded"] = np.array(pending.discarded)
    return {f"pending/{ticket}/{name}": array for name, array in arrays.items()}


def decode_pending(tickets: list[int], arrays: Arrays) -> dict[int, Pending]:
    """Plans in flight by ticket.

    Raises:
        CheckpointError: An array is missing.
    """
    pending: dict[int, Pending] = {}
    for ticket in tickets:
        get = {
            name: required(arrays, f"pending/{ticket}/{name}")
            for name in (*_PLAN_ARRAYS, "shadow_P", "weight_P", "discarded")
        }
        plan = Plan(ticket, *(frozen(get[name], dtype) for name, dtype in _PLAN_ARRAYS.items()))
        shadow_P = get["shadow_P"].astype(np.int64) if len(get["shadow_P"]) else None
        weight_P = get["weight_P"] if len(get["weight_P"]) else None
        pending[ticket] = Pending(plan, shadow_P, weight_P, int(get["discarded"]))
    return pending
