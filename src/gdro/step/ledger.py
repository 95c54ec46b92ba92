"""The budget ledger: everything that was planned, generated and thrown away."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np

from gdro.errors import CheckpointError
from gdro.groups import Groups


@dataclass
class Ledger:
    """Counts since the start of the run.

    Attributes:
        plans: Plans made.
        closed: Plans closed by an outcome.
        abandoned: Plans closed without one.
        planned: Rollouts planned.
        rollouts: Rollouts that came back.
        missing: Rollouts planned that did not come back.
        unscored: Rollouts without a reward.
        discarded: Rollouts dropped from the loss.
        recalled: Remembered rows that joined the loss in the place of discarded ones.
        recalled_tokens: Their tokens: trained on, not generated again.
        tokens: Tokens generated, discarded ones too (0 where the trainer does not count).
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

    @classmethod
    def of(cls, counts: Any) -> Ledger:
        """The ledger of a checkpoint; counts that an older release did not keep are zero.

        Args:
            counts: From `as_dict`.

        Raises:
            CheckpointError: They are not counts, or have names that this release does not know.
        """
        if not isinstance(counts, dict):
            raise CheckpointError(f"the checkpoint's ledger is {counts!r:.60}; it is damaged")
        given = cast("dict[str, Any]", counts)
        known = {field.name for field in fields(cls)}
        bad = next(((k, v) for k, v in given.items() if k not in known or not _is_count(v)), None)
        if bad is not None:
            raise CheckpointError(
                f"the checkpoint's ledger counts {bad[0]!r:.60} as {bad[1]!r:.60}; it is damaged, or of "
                "a newer release"
            )
        return cls(**given)

    def close(self, groups: Groups, discarded: int, recalled: tuple[int, int] = (0, 0)) -> None:
        """Count what came back for a plan.

        Args:
            groups: The plan's groups.
            discarded: Rollouts that `weigh` dropped from the loss.
            recalled: Remembered rows that took the place of others, and their tokens.
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
        """The counts by name."""
        return dict(vars(self))


def _is_count(value: Any) -> bool:
    # `missing` falls below zero where more came back than was planned.
    return type(value) is int and -(2**62) < value < 2**62
