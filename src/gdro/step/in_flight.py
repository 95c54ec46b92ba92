"""Plans in flight, and how they are saved in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gdro.checkpoint.codec import Arrays, required
from gdro.common.schema import MOST_COUNT
from gdro.errors import CheckpointError, TicketError
from gdro.groups import Groups, group
from gdro.numerics.arrays import FloatArray, IntArray, among, distinct, frozen
from gdro.numerics.budget import even_split
from gdro.strategy import More
from gdro.types import UNSEEN, Extension, Outcome, Plan, Weights

MOST_ROLLOUTS = (1 << 31) - 1
"""Most rollouts of a prompt, and largest index of a prompt or bin, in a checkpoint."""


@dataclass
class Pending:
    """A plan in flight.

    Attributes:
        plan: The plan.
        shadow_P: Rollouts that the strategy would have allocated, in shadow mode, shape (P,).
        weighed_P: Mean weight that `weigh` gave each prompt, shape (P,).
        discarded: Number of rollouts that `weigh` dropped.
        round: Number of extensions so far.
        groups: Groups given to `weigh`, so that `observe` need not build them again. Not saved.
        weights: Weights from `weigh`, until `weighed_P` is computed from them. Not saved.
    """

    plan: Plan
    shadow_P: IntArray | None = None
    weighed_P: FloatArray | None = None
    discarded: int = 0
    round: int = 0
    groups: Groups | None = None
    weights: Weights | None = None

    def weigh(self, groups: Groups, weights: Weights, applied: Weights) -> None:
        """Keep the groups and weights of `weigh`; `applied` are the weights that the trainer gets."""
        self.groups, self.weights, self.weighed_P = groups, weights, None
        self.discarded = len(applied.keep_R) - int(np.count_nonzero(applied.keep_R))

    def grouped(self, outcome: Outcome) -> Groups:
        """The plan's groups of an outcome; those of `weigh` again, if it was the same one."""
        if self.groups is not None and self.groups.outcome is outcome:
            return self.groups
        return group(self.plan, outcome)

    def extend(self, more: More, multiple: int, bin_N: npt.NDArray[Any]) -> Extension:
        """Add rollouts to the plan, rounded up to a multiple; new prompts get their current bins."""
        more = rounded_up(more, multiple)
        self.round += 1
        self.plan = grown(self.plan, more, bin_N)
        self.groups = self.weights = self.weighed_P = None
        place = {prompt: p for p, prompt in enumerate(self.plan.prompt_P.tolist())}
        bin_P = self.plan.bin_P[[place[prompt] for prompt in more.prompt_P.tolist()]]
        columns = (frozen(column, np.int64) for column in (more.prompt_P, more.rollouts_P, bin_P))
        return Extension(self.plan.ticket, self.round, *columns)

    @property
    def weight_P(self) -> FloatArray | None:
        """Mean weight of each prompt, None if the plan was never weighed, shape (P,)."""
        if self.weighed_P is None and self.groups is not None and self.weights is not None:
            self.weighed_P = self.groups.mean_weight(self.weights)
        return self.weighed_P


def rounded_up(more: More, multiple: int) -> More:
    """Further rollouts, rounded up to a multiple in total: the first prompts get the rest."""
    rest = -int(more.rollouts_P.sum()) % multiple
    return More(more.prompt_P, more.rollouts_P + even_split(len(more.prompt_P), rest)) if rest else more


def grown(plan: Plan, more: More, bin_N: npt.NDArray[Any]) -> Plan:
    """A plan with more rollouts; prompts that are new to it are appended."""
    fresh_P = more.prompt_P[~among(more.prompt_P, plan.prompt_P)]
    prompt_P = np.concatenate([plan.prompt_P, fresh_P])
    order = np.argsort(prompt_P, kind="stable")
    place_P = order[np.searchsorted(prompt_P[order], more.prompt_P)]
    rollouts_P = np.concatenate([plan.rollouts_P, np.zeros(len(fresh_P), np.int64)])
    rollouts_P[place_P] = np.minimum(rollouts_P[place_P] + more.rollouts_P, MOST_ROLLOUTS)
    return Plan(
        plan.ticket,
        frozen(prompt_P, np.int64),
        frozen(rollouts_P, np.int64),
        frozen(np.concatenate([plan.bin_P, bin_N[fresh_P]]), np.int64),
        frozen(np.concatenate([plan.importance_P, np.ones(len(fresh_P))]), np.float64),
        plan.num_prompts,
        plan.num_rollouts,
        frozen(np.concatenate([plan.first_P, rollouts_P[len(plan.prompt_P) :]]), np.int64),
        plan.mass_B,
    )


_MOST = float(np.finfo(np.float64).max)
_OPTIONAL = ("shadow_P", "weight_P", "mass_B")
# Type, least and largest value of a plan's arrays with one entry per prompt.
_COLUMNS = {
    "prompt_P": (np.int64, 0, MOST_ROLLOUTS),
    "rollouts_P": (np.int64, 1, MOST_ROLLOUTS),
    "bin_P": (np.int64, UNSEEN, MOST_ROLLOUTS),
    "importance_P": (np.float64, 0, _MOST),
    "first_P": (np.int64, 1, MOST_ROLLOUTS),
}


class InFlight:
    """Plans that are not closed yet, by ticket; at most `limit` at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.next_ticket = 0
        self._open: dict[int, Pending] = {}

    @property
    def tickets(self) -> list[int]:
        """Open tickets, oldest first."""
        return sorted(self._open)

    def check_room(self) -> None:
        """Raise TicketError if the limit of open plans is reached, or that of tickets."""
        if len(self._open) >= self.limit:
            raise TicketError(
                f"{len(self._open)} plans are in flight, max_pending is {self.limit}; close them with "
                "observe, or abandon those that will never return"
            )
        if self.next_ticket >= MOST_COUNT:  # only a made-up checkpoint comes here
            raise TicketError(
                f"the next ticket would be {self.next_ticket}, and there are no more; start again, or "
                "from an earlier checkpoint"
            )

    def add(self, pending: Pending) -> None:
        """Add an open plan."""
        self._open[pending.plan.ticket] = pending
        self.next_ticket = pending.plan.ticket + 1

    def get(self, ticket: int) -> Pending:
        """The open plan of a ticket.

        Raises:
            TicketError: The ticket is unknown or closed.
        """
        pending = self._open.get(ticket)
        if pending is None:
            why = "is closed already" if 0 <= ticket < self.next_ticket else "was never issued"
            raise TicketError(
                f"ticket {ticket} {why}; open tickets: {self.tickets[:8]}. Pass the ticket of the plan "
                "that the rollouts were generated for, once"
            )
        return pending

    def close(self, ticket: int) -> None:
        """Forget an open plan."""
        del self._open[ticket]

    def was_closed(self, ticket: int) -> bool:
        """Whether a ticket was issued and is not open."""
        return ticket < self.next_ticket and ticket not in self._open

    def header(self) -> dict[str, Any]:
        """The part of the saved state that is JSON."""
        return {"next_ticket": self.next_ticket, "pending": self.tickets}

    def arrays(self) -> Arrays:
        """The part of the saved state that is arrays, named `pending/<ticket>/...`."""
        arrays: Arrays = {}
        for ticket in self.tickets:
            arrays |= _encode(ticket, self._open[ticket])
        return arrays

    def restored(
        self, header: dict[str, Any], arrays: Arrays, num_prompts: int, num_bins: int
    ) -> InFlight:
        """The plans of a checkpoint, whose dataset has `num_prompts` prompts in `num_bins` bins.

        Raises:
            CheckpointError: An array is missing, or its values are not those of a plan.
        """
        plans = InFlight(self.limit)
        plans._open = {ticket: _decode(ticket, arrays, num_bins) for ticket in header["pending"]}
        for ticket, pending in plans._open.items():
            prompt, bin = int(pending.plan.prompt_P.max()), int(pending.plan.bin_P.max())
            if prompt >= num_prompts or bin >= num_bins:
                raise CheckpointError(
                    f"the plan of ticket {ticket} has prompt {prompt} of {num_prompts} and bin {bin} of "
                    f"{num_bins}; the checkpoint is damaged, go back to an earlier one"
                )
        plans.next_ticket = int(header["next_ticket"])
        return plans


def _encode(ticket: int, pending: Pending) -> Arrays:
    plan = pending.plan
    optional = zip(_OPTIONAL, (pending.shadow_P, pending.weight_P, plan.mass_B), strict=True)
    arrays: Arrays = {name: getattr(plan, name) for name in _COLUMNS}
    arrays |= {name: np.zeros(0) if value is None else value for name, value in optional}
    arrays["counts"] = np.array(
        [plan.num_prompts, plan.num_rollouts, pending.discarded, pending.round], np.int64
    )
    return {f"pending/{ticket}/{name}": array for name, array in arrays.items()}


def _decode(ticket: int, arrays: Arrays, num_bins: int) -> Pending:
    prefix = f"pending/{ticket}/"
    get = {name: required(arrays, prefix + name) for name in (*_COLUMNS, *_OPTIONAL, "counts")}
    _check(ticket, get, num_bins)
    num_prompts, num_rollouts, discarded, extensions = (int(count) for count in get["counts"])
    columns = {name: frozen(get[name], dtype) for name, (dtype, *_) in _COLUMNS.items()}
    columns["mass_B"] = frozen(get["mass_B"], np.float64)
    plan = Plan(ticket, **columns, num_prompts=num_prompts, num_rollouts=num_rollouts)
    shadow_P = get["shadow_P"].astype(np.int64) if len(get["shadow_P"]) else None
    weight_P = get["weight_P"] if len(get["weight_P"]) else None
    return Pending(plan, shadow_P, weight_P, discarded, extensions)


def _check(ticket: int, get: Arrays, num_bins: int) -> None:
    """Raise CheckpointError unless the arrays of a plan agree with each other and are in range."""
    prompt_P, shape = get["prompt_P"], get["prompt_P"].shape
    # Shapes, type, least and largest value.
    allowed: dict[str, tuple[tuple[Any, ...], Any, float, float]] = {
        name: ((shape,), dtype, least, most) for name, (dtype, least, most) in _COLUMNS.items()
    }
    allowed |= {
        "shadow_P": (((0,), shape), np.int64 if get["shadow_P"].size else np.float64, 0, MOST_ROLLOUTS),
        "weight_P": (((0,), shape), np.float64, -_MOST, _MOST),
        "mass_B": (((num_bins,),), np.float64, 0, 1 + 1e-9),
        "counts": (((4,),), np.int64, 0, MOST_ROLLOUTS),
    }
    fine: dict[str, bool] = {}
    for name, (shapes, dtype, low, high) in allowed.items():
        array = get[name]
        fits = array.shape in shapes and array.dtype == dtype
        fine[name] = fits and bool(((array >= low) & (array <= high)).all())
    fine["prompt_P"] &= len(shape) == 1 and len(distinct(prompt_P)) == len(prompt_P) > 0
    if fine["first_P"] and fine["rollouts_P"]:
        fine["first_P"] = bool((get["first_P"] <= get["rollouts_P"]).all())
    bad = next((name for name, good in fine.items() if not good), None)
    if bad is not None:
        raise CheckpointError(
            f"'pending/{ticket}/{bad}' holds {get[bad].ravel()[:4]} of shape {get[bad].shape}, which no "
            "plan has; the checkpoint is damaged, go back to an earlier one"
        )
