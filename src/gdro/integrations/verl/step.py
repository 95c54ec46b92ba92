"""One step: its prompts, the rollouts that came back, and the factor on each row's advantage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.types import Outcome, Plan, Weights

LEAST = 2  # rollouts of a group: verl takes the reward of a single one as its advantage


@dataclass(frozen=True)
class RowScores:
    """Scores and verdicts of the B rows of a batch.

    Attributes:
        reward_B: Score of each row, shape (B,).
        correct_B: Whether it is right, shape (B,).
        tokens_B: Number of tokens generated in it, shape (B,).
        known_B: Whether it is known to be right or wrong, shape (B,).
        counts: Counts of the reward function for each row by name, shape (B,) each.
    """

    reward_B: FloatArray
    correct_B: BoolArray
    tokens_B: IntArray
    known_B: BoolArray
    counts: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])


@dataclass(frozen=True)
class RowTable:
    """Which rows of a batch belong to each of the S sessions (rollouts) of a step.

    Attributes:
        row_S: Last row of each session, in the order of submitted prompts and sessions, shape (S,).
        prompt_S: Dataset index of each session's prompt, shape (S,).
        session_B: Session of each row of the batch (-1: padding), shape (B,).
    """

    row_S: IntArray
    prompt_S: IntArray
    session_B: IntArray


class VerlStep:
    """A plan, the prompts that were submitted for it, and what came back.

    In further rounds a prompt is submitted again: verl gives it another uid, but its rollouts stay one
    group.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: RowTable | None = None
        self.outcome: Outcome | None = None
        self._uids: list[str] = []
        self._prompts: list[int] = []
        self._requested = 0
        self._keys: Sequence[str] = ()
        self._factor_B: FloatArray | None = None
        self._dropped = 0
        self._counts: dict[str, int] = {}

    @property
    def weighed(self) -> bool:
        """Whether all rounds of the step were weighed."""
        return self._factor_B is not None

    @property
    def first_uid(self) -> dict[str, str]:
        """The uid of the group of each uid that belongs to another one's."""
        known: dict[int, str] = {}
        pairs = zip(self._uids, self._prompts, strict=True)
        firsts = {uid: known.setdefault(prompt, uid) for uid, prompt in pairs}
        return {uid: first for uid, first in firsts.items() if uid != first}

    def submit(self, uids: Sequence[str], prompts: Sequence[int], rollouts: Sequence[int]) -> None:
        """Add submitted prompts: uid, dataset index and requested rollouts of each."""
        self._uids += uids
        self._prompts += prompts
        self._requested += sum(rollouts)

    def read(self, keys: Sequence[str], scores: RowScores) -> Outcome:
        """The outcome of all rows so far."""
        self._keys, self.rows = keys, rows_of(keys, self._uids, self._prompts)
        self.outcome = outcome_of(self.plan.ticket, self.rows, scores)
        # A session's outputs share its result, and padding repeats others: each session counts once.
        self._counts = {
            name: int(count_B[self.rows.row_S].sum()) for name, count_B in scores.counts.items()
        }
        return self.outcome

    def weigh(self, weights: Weights) -> None:
        """Compute the rows' factors from the controller's weights."""
        assert self.rows is not None and self.outcome is not None
        self._factor_B, self._dropped = factors(
            self.rows, self.outcome, weights, len(set(self._prompts))
        )

    def factors(self, keys: Sequence[str]) -> FloatArray:
        """Factor on the advantage of each row, one for padding, shape (B,)."""
        assert self._factor_B is not None
        if keys is self._keys:
            return self._factor_B
        known = dict(zip(self._keys, self._factor_B.tolist(), strict=True))
        return np.array([known.get(key, 1.0) for key in keys])

    def loss_keys(self) -> list[str]:
        """Keys of the rows for the loss: sessions with a factor, then others up to the plan's number."""
        assert self.rows is not None and self._factor_B is not None
        session_B, row_S = self.rows.session_B, self.rows.row_S
        order = np.argsort(self._factor_B[row_S] == 0.0, kind="stable")
        taken_S = np.zeros(len(order) + 1, bool)  # the last entry is for padding
        taken_S[order[: self.plan.num_rollouts]] = True
        return [key for key, taken in zip(self._keys, taken_S[session_B], strict=True) if taken]

    def counts(self, keys: Sequence[str]) -> dict[str, int]:
        """Counts to log of groups that did not come back whole, and of the reward function.

        `keys` are the rows of the loss.
        """
        assert self.rows is not None
        uids = set(self._uids)
        return self._counts | {
            "dropped_groups": self._dropped,
            "missing": self._requested - len(self.rows.row_S),
            "padding": sum(key.rsplit("_", 2)[0] not in uids for key in keys),
        }


def rows_of(keys: Sequence[str], uids: Sequence[str], prompts: Sequence[int]) -> RowTable:
    """Match the rows of a batch with the submitted prompts by their keys, `{uid}_{session}_{output}`.

    The last output of a session is its result. The order does not depend on when rows arrived.
    """
    places = {uid: place for place, uid in enumerate(uids)}
    parts = [key.rsplit("_", 2) for key in keys]
    place_B = np.array([places.get(uid, -1) for uid, _, _ in parts], np.int64)
    number_B = np.array([int(session) for _, session, _ in parts], np.int64)
    output_B = np.array([int(output) for _, _, output in parts], np.int64)
    order = np.lexsort((output_B, number_B, place_B))
    order = order[place_B[order] >= 0]
    place, number = place_B[order], number_B[order]
    first = (np.diff(place, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 0)
    last = (np.diff(place, append=-1) != 0) | (np.diff(number, append=-1) != 0)
    session_B = np.full(len(keys), -1)
    session_B[order] = np.cumsum(first) - 1
    return RowTable(order[last], np.array(prompts, np.int64)[place[last]], session_B)


def outcome_of(ticket: int, rows: RowTable, scores: RowScores) -> Outcome:
    """The outcome of the sessions for the controller."""
    in_session = rows.session_B >= 0
    tokens_S = np.bincount(rows.session_B[in_session], scores.tokens_B[in_session], len(rows.row_S))
    reward_S = scores.reward_B[rows.row_S]
    return Outcome(
        ticket,
        rows.prompt_S,
        reward_S,
        scores.correct_B[rows.row_S],
        tokens_R=tokens_S.astype(np.int64),
        valid_R=np.isfinite(reward_S),
        judged_R=scores.known_B[rows.row_S],
    )


def factors(rows: RowTable, outcome: Outcome, weights: Weights, prompts: int) -> tuple[FloatArray, int]:
    """Factor on the advantage of each row of the batch, shape (B,), and the number of dropped groups.

    A group is dropped if fewer than two of its rollouts arrived, or if one has no finite reward: verl's
    advantages of the whole group are then not finite. `prompts` is the number of distinct prompts.
    """
    _, place_S, size_G = np.unique(rows.prompt_S, return_inverse=True, return_counts=True)
    broken_G = np.bincount(place_S, ~outcome.valid_mask_R, len(size_G)) > 0
    whole_G = (size_G >= LEAST) & ~broken_G
    factor_S = np.where(weights.keep_R & whole_G[place_S], weights.weight_R, 0.0)
    # The last entry is for padding, whose advantage is zero already.
    return np.append(factor_S, 1.0)[rows.session_B], prompts - int(whole_G.sum())


def scale(advantages: Any, factor_B: FloatArray) -> None:
    """Multiply each row of a tensor of advantages by its factor, in place."""
    if bool(np.any(factor_B != 1.0)):
        advantages *= advantages.new_tensor(factor_B).unsqueeze(1)
        # Advantages of a dropped group may be NaN, which stay NaN times zero.
        advantages[advantages.new_tensor(factor_B == 0.0).bool()] = 0.0
