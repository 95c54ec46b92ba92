"""The budget ledger: how many rollouts and tokens were planned, generated and dropped."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np

from gdro.common.schema import MOST_COUNT
from gdro.errors import CheckpointError
from gdro.groups import Groups


@dataclass
class Ledger:
    """Counts since the start of the run.

    Attributes:
        plans: Plans made.
        closed: Plans closed with an outcome.
        abandoned: Plans closed without an outcome.
        planned: Rollouts planned.
        rollouts: Rollouts returned by the trainer.
        missing: Rollouts planned but not returned.
        unscored: Rollouts without a reward.
        discarded: Rollouts dropped from the loss.
        recalled: Stored rollouts that joined the loss in place of dropped ones.
        recalled_tokens: Tokens of the recalled rollouts, which were not generated again.
        tokens: Tokens generated, dropped rollouts included (0 if the trainer does not count them).
        allocations: Requests for rollouts without a plan (`Controller.allocate`). This count and the two
            below are in logs and checkpoints only of runs that allocate so.
        evicted: Rollouts allocated whose group the trainer threw away before any plan adopted it.
        duplicates: Groups that a plan adopted beside another one of the same prompt.
    """

    plans: int = 0
    closed: int = 0
    abandoned: int = 0
    planned: int = 0
    rollouts: int = 0
    missing: int = 0
    unscored: int = 0
    discarded: int = 0
    recalled: int = 0
    recalled_tokens: int = 0
    tokens: int = 0
    allocations: int = 0
    evicted: int = 0
    duplicates: int = 0

    @classmethod
    def of(cls, counts: Any) -> Ledger:
        """The ledger of a checkpoint.

        Raises:
            CheckpointError: The names are not those of `as_dict`, or a value is not a count.
        """
        given = cast("dict[str, Any]", counts) if isinstance(counts, dict) else {}
        known = {field.name for field in fields(cls)}
        if not known - _ALLOCATED <= set(given) <= known or not all(map(_is_count, given.values())):
            bad = next((f"{k} {v!r:.30}" for k, v in given.items() if not _is_count(v)), "")
            what = f"has {bad}, at most {MOST_COUNT} is a count" if bad else f"is {counts!r:.300}"
            raise CheckpointError(
                f"the checkpoint's ledger {what}; it is damaged, or of another release: go back to an "
                "earlier checkpoint"
            )
        return cls(**given)

    def close(self, groups: Groups, discarded: int, recalled: tuple[int, int] = (0, 0)) -> None:
        """Count the outcome of a plan.

        Args:
            groups: The plan's groups.
            discarded: Rollouts that `weigh` dropped from the loss.
            recalled: Number of stored rollouts that replaced others, and of their tokens.
        """
        rows = len(groups.outcome.prompt_R)
        self.closed += 1
        self.rollouts += rows
        self.missing += int(groups.plan.rollouts_P.sum()) - rows
        self.unscored += rows - int(np.count_nonzero(groups.outcome.valid_mask_R))
        self.discarded += discarded + recalled[0]
        self.recalled += recalled[0]
        self.recalled_tokens += recalled[1]
        tokens_R = groups.outcome.tokens_R
        self.tokens += 0 if tokens_R is None else int(tokens_R.sum())

    def as_dict(self) -> dict[str, int]:
        """The counts by name, each at most `MOST_COUNT` in size."""
        absent = frozenset[str]() if self.allocations else _ALLOCATED
        return {
            name: max(-MOST_COUNT, min(count, MOST_COUNT))
            for name, count in vars(self).items()
            if name not in absent
        }


_ALLOCATED = frozenset({"allocations", "evicted", "duplicates"})


def _is_count(value: Any) -> bool:
    # `missing` is negative where more rollouts came back than were planned.
    return type(value) is int and abs(value) <= MOST_COUNT
