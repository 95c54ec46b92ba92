"""Recalled rollouts with their tokens, and which successes a step leaves behind; for every adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gdro.memory.placing import Placed
from gdro.memory.store import RolloutStore, StoredRollout
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.types import Outcome, Weights


@dataclass(frozen=True)
class Joining:
    """Recalled rollouts that join one step.

    Attributes:
        placed: The recalls, and the rows that they replace.
        rollouts: Tokens and rewards of the recalls.
    """

    placed: Placed
    rollouts: tuple[StoredRollout, ...]

    @classmethod
    def of(cls, placed: Placed, store: RolloutStore) -> Joining:
        """The placed recalls with what the store holds of them now."""
        return cls(placed, tuple(store.rollouts[r.prompt][r.slot] for r in placed.recalls))

    @property
    def rewards_MK(self) -> npt.NDArray[np.float32]:
        """Rewards of the replays, shape (M, K); there must be one."""
        return np.stack([r.rewards_K for r in self.rollouts[: len(self.placed.replays)]])

    @property
    def anchors(self) -> FloatArray:
        """Advantages of the rows that stand alone, which follow the replays."""
        pairs = list(zip(self.placed.recalls, self.rollouts, strict=True))[len(self.placed.replays) :]
        fixed = [s.advantage if r.advantage is None else r.advantage for r, s in pairs]
        return np.array(fixed, np.float64)

    @property
    def tokens(self) -> int:
        """Number of the model's tokens that are trained on again."""
        return sum(r.own_tokens for r in self.rollouts)


def recalled(joining: Joining | None) -> tuple[int, int]:
    """Number of rows that joined a step, and of their tokens, for `Controller.observe`."""
    return (0, 0) if joining is None else (len(joining.rollouts), joining.tokens)


def memory_metrics(
    joining: Joining | None, store: RolloutStore, rows: int, names: Sequence[str]
) -> dict[str, float]:
    """Scalars of a step and of the store.

    Args:
        joining: What joined the step, None if nothing did.
        store: The store after the step.
        rows: Number of rows in the loss.
        names: Names of the K reward functions.

    Returns:
        Values by name.
    """
    num, tokens = recalled(joining)
    replays = 0 if joining is None else len(joining.placed.replays)
    rollouts = () if joining is None else joining.rollouts
    # With one function every sum is the number of rows.
    sums = np.nansum([r.rewards_K for r in rollouts], axis=0) if rollouts else np.zeros(len(names))
    given = zip(names, sums.tolist(), strict=True) if len(names) > 1 else ()
    return {
        **{f"memory_reward_{name}": value for name, value in given},
        "memory_replays": float(replays),
        "memory_anchors": float(num - replays),
        "memory_row_share": num / rows,
        "memory_length": tokens / num if num else 0.0,
        "memory_rollouts": float(len(store)),
        "memory_bytes": float(store.nbytes),
    }


def latest_rows(rows: Sequence[int], prompt_R: IntArray) -> dict[int, int]:
    """The last of some rows of each prompt, by prompt."""
    return {int(prompt_R[row]): row for row in rows}


def rows_to_store(weights: Weights, outcome: Outcome) -> dict[int, list[int]]:
    """Rows that take the place of what is stored of their prompts, by prompt and ascending reward.

    A group of which the loss takes no row takes the place with no row.

    >>> outcome = Outcome(0, np.array([7, 7, 4]), np.array([1.0, 0.5, 1.0]), np.ones(3, bool))
    >>> every = Weights(np.ones(3), np.ones(3, bool), remember_R=np.ones(3, bool), remember="group")
    >>> rows_to_store(every, outcome)
    {7: [1, 0], 4: [2]}
    """
    if weights.remember_R is None:
        return {}
    rows: list[int] = np.flatnonzero(weights.remember_R).tolist()
    if weights.remember == "latest":
        return {prompt: [row] for prompt, row in latest_rows(rows, outcome.prompt_R).items()}
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(int(outcome.prompt_R[row]), []).append(row)
    return {
        prompt: sorted(own, key=outcome.reward_R.__getitem__) if weights.keep_R[own].any() else []
        for prompt, own in groups.items()
    }
