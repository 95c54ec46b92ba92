"""Groups that have rollouts and are in no plan yet, for trainers that train on groups as they finish."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gdro.checkpoint.codec import Arrays, required
from gdro.common.schema import MOST_COUNT, is_count
from gdro.errors import CheckpointError, TicketError
from gdro.numerics.arrays import IntArray, distinct, frozen, integers
from gdro.step.in_flight import MOST_ROLLOUTS, Pending
from gdro.types import UNSEEN, Allocation, Plan

_MOST_GROUPS = 1 << 20
_MOST = float(np.finfo(np.float64).max)
# Type, least and largest value of the arrays; the shadow is 0 where nothing was only shadowed.
_COLUMNS: dict[str, tuple[Any, float, float]] = {
    "group_G": (np.int64, 0, MOST_COUNT),
    "prompt_G": (np.int64, 0, MOST_ROLLOUTS),
    "rollouts_G": (np.int64, 1, MOST_ROLLOUTS),
    "shadow_G": (np.int64, 0, MOST_ROLLOUTS),
    "bin_G": (np.int64, UNSEEN, MOST_ROLLOUTS),
    "importance_G": (np.float64, 0, _MOST),
    "mass_GB": (np.float64, 0, 1 + 1e-9),
}


class Allocated:
    """G groups by number, each with what a plan says of a prompt; at most a million of them.

    Args:
        num_bins: Number of difficulty bins.
    """

    def __init__(self, num_bins: int) -> None:
        self.next_group = 0
        self.allocations = 0
        shapes = {name: (0, num_bins) if name == "mass_GB" else (0,) for name in _COLUMNS}
        self._column = {name: np.zeros(shapes[name], of[0]) for name, of in _COLUMNS.items()}

    @property
    def groups(self) -> Allocation:
        """All groups, oldest first."""
        names = ("group_G", "prompt_G", "rollouts_G")
        return Allocation(*(frozen(self._column[name], np.int64) for name in names))

    def check_room(self, num: int) -> None:
        """Raise TicketError if so many more groups would be too many."""
        known = len(self._column["group_G"])
        if known + num > _MOST_GROUPS or self.next_group + num > MOST_COUNT:
            raise TicketError(
                f"{known} groups are allocated and in no plan, at most {_MOST_GROUPS} are allowed; "
                "adopt those that were trained on, and evict those that never will be"
            )

    def add(self, pending: Pending) -> Allocation:
        """Add the prompts of a plan as groups."""
        plan = pending.plan
        num = len(plan.prompt_P)
        group_P = np.arange(self.next_group, self.next_group + num)
        shadow_P = np.zeros(num, np.int64) if pending.shadow_P is None else pending.shadow_P
        mass_PB = np.broadcast_to(plan.mass_B, (num, len(plan.mass_B)))
        own = (group_P, plan.prompt_P, plan.rollouts_P, shadow_P, plan.bin_P, plan.importance_P, mass_PB)
        self._column = {
            name: np.concatenate([self._column[name], new])
            for name, new in zip(_COLUMNS, own, strict=True)
        }
        self.next_group += num
        self.allocations += 1
        return Allocation(frozen(group_P, np.int64), plan.prompt_P, plan.rollouts_P)

    def take(self, group_P: Any) -> dict[str, npt.NDArray[Any]]:
        """Remove groups, and return their columns in the given order.

        Raises:
            TicketError: A number is unknown, was taken already, or is there twice; nothing changes.
        """
        wanted_P = integers(group_P, "group_P", TicketError)
        known_G = self._column["group_G"]
        place_P = np.searchsorted(known_G, wanted_P)
        bad_P = place_P == len(known_G)
        bad_P[~bad_P] = known_G[place_P[~bad_P]] != wanted_P[~bad_P]
        twice = len(distinct(wanted_P)) < len(wanted_P)
        if twice or bool(bad_P.any()):
            raise TicketError(self._fault(wanted_P, bad_P))
        columns = {name: column[place_P] for name, column in self._column.items()}
        self._column = {name: np.delete(column, place_P, 0) for name, column in self._column.items()}
        return columns

    def _fault(self, wanted_P: IntArray, bad_P: npt.NDArray[np.bool_]) -> str:
        fix = "pass numbers of `Allocation.group_P`, each once"
        if not bool(bad_P.any()):
            return f"group_P holds a group twice: {wanted_P.tolist()[:8]}; {fix}"
        group = int(wanted_P[bad_P][0])
        issued = 0 <= group < self.next_group
        why = "was adopted or evicted already" if issued else "was never allocated"
        return f"group {group} {why}; open groups: {self._column['group_G'].tolist()[:8]}. Do {fix}"

    def header(self) -> dict[str, Any]:
        """The part of the saved state that is JSON; empty if nothing was ever allocated."""
        if not self.allocations:
            return {}
        return {"allocated": {"groups": self.next_group, "allocations": self.allocations}}

    def arrays(self) -> Arrays:
        """The part of the saved state that is arrays, named `allocated/...`."""
        if not self.allocations:
            return {}
        return {f"allocated/{name}": column for name, column in self._column.items()}

    def restored(self, header: dict[str, Any], arrays: Arrays, num_prompts: int, bins: int) -> Allocated:
        """The groups of a checkpoint, whose dataset has `num_prompts` prompts in `bins` bins.

        Raises:
            CheckpointError: An array is missing, or its values are not those of groups.
        """
        groups = Allocated(bins)
        if "allocated" not in header:
            return groups
        names, given = ("groups", "allocations"), header["allocated"]
        counts = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        if not all(is_count(counts.get(name), MOST_COUNT) for name in names):
            raise CheckpointError(
                f"the checkpoint's header has allocated {given!r:.60}; it is damaged, go back to an "
                "earlier one"
            )
        groups.next_group, groups.allocations = (int(counts[name]) for name in names)
        columns = {name: required(arrays, f"allocated/{name}") for name in _COLUMNS}
        _check(columns, (groups.next_group, num_prompts, bins))
        groups._column = {name: np.array(column) for name, column in columns.items()}
        return groups


def adopted(columns: dict[str, npt.NDArray[Any]], ticket: int, apply: bool) -> tuple[Pending, int]:
    """A plan of groups, and the number of those that joined another group of their prompt.

    Such a prompt is once in the plan, with the sum of the rollouts: its visit is one. Bin and importance
    are those of its first group, as is `first_P`.

    Raises:
        TicketError: There are no groups.
    """
    if not len(columns["group_G"]):
        raise TicketError("group_P is empty; pass the numbers of at least one group to train on")
    prompt_G, mass_GB = columns["prompt_G"], columns["mass_GB"]
    _, first_K, place_G = np.unique(prompt_G, return_index=True, return_inverse=True)
    order = np.argsort(first_K)  # prompts in the order of their first groups
    first_P = first_K[order]

    def total(name: str) -> IntArray:
        # Sums of counts below 2^31 are exact in floating point.
        sum_K = np.bincount(place_G, columns[name]).astype(np.int64)
        return frozen(np.minimum(sum_K[order], MOST_ROLLOUTS), np.int64)

    rollouts_P = total("rollouts_G")
    plan = Plan(
        ticket,
        frozen(prompt_G[first_P], np.int64),
        rollouts_P,
        frozen(columns["bin_G"][first_P], np.int64),
        frozen(columns["importance_G"][first_P], np.float64),
        len(first_P),
        int(rollouts_P.sum()),
        frozen(columns["rollouts_G"][first_P], np.int64),
        frozen(mass_GB.mean(0), np.float64),
    )
    return Pending(plan, None if apply else total("shadow_G")), len(prompt_G) - len(first_P)


def _check(columns: dict[str, npt.NDArray[Any]], most: tuple[int, int, int]) -> None:
    """Raise CheckpointError unless the columns agree with each other and are in range."""
    next_group, num_prompts, bins = most
    num = len(columns["group_G"]) if columns["group_G"].ndim == 1 else -1
    largest = {"group_G": next_group - 1, "prompt_G": num_prompts - 1, "bin_G": bins - 1}
    for name, (dtype, low, high) in _COLUMNS.items():
        column = columns[name]
        shape = (num, bins) if name == "mass_GB" else (num,)
        fine = column.shape == shape and column.dtype == dtype
        fine = fine and bool(((column >= low) & (column <= largest.get(name, high))).all())
        if name == "group_G":
            fine = fine and bool((np.diff(column) > 0).all())
        if not fine:
            raise CheckpointError(
                f"'allocated/{name}' holds {column.ravel()[:4]} of shape {column.shape}, which no "
                "groups have; the checkpoint is damaged, go back to an earlier one"
            )
