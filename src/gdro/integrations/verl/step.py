"""One step: its prompts, the rollouts that came back, and the factor on each row's advantage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import numpy as np

from gdro.groups import differing_rows
from gdro.memory.joining import latest_rows
from gdro.memory.placing import Placed, join_weights, place
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
        place_S: Place of each session's uid among those that were submitted, shape (S,).
        session_B: Session of each row of the batch (-1: padding), shape (B,).
    """

    row_S: IntArray
    prompt_S: IntArray
    place_S: IntArray
    session_B: IntArray


class VerlStep:
    """A plan, the prompts that were submitted for it, and what came back.

    In further rounds a prompt is submitted again: verl gives it another uid, but its rollouts stay one
    group. In asynchronous modes (`joins` is false) they stay apart as in stock verl: a prompt that comes
    twice may have been answered by two versions of the weights.

    Attributes:
        plan: The plan.
        rows: Which rows belong to each session; None before `read`.
        outcome: The outcome of the sessions; None before `read`.
        anchors: Fixed advantage of each recalled row that stands alone, by key.
    """

    def __init__(self, plan: Plan, joins: bool = True) -> None:
        self.plan = plan
        self._joins = joins
        self.rows: RowTable | None = None
        self.outcome: Outcome | None = None
        self._uids: list[str] = []
        self._prompts: list[int] = []
        self._requested: list[int] = []
        self._keys: Sequence[str] = ()
        self._weights: Weights | None = None
        self._factor_B: FloatArray | None = None
        self._recalled: dict[str, float] = {}
        self._dropped = 0
        self.anchors: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    @property
    def weighed(self) -> bool:
        """Whether all rounds of the step were weighed."""
        return self._factor_B is not None

    @property
    def first_uid(self) -> dict[str, str]:
        """The uid of the group of each uid that belongs to another one's."""
        if not self._joins:
            return {}
        known: dict[int, str] = {}
        pairs = zip(self._uids, self._prompts, strict=True)
        firsts = {uid: known.setdefault(prompt, uid) for uid, prompt in pairs}
        return {uid: first for uid, first in firsts.items() if uid != first}

    def submit(self, uids: Sequence[str], prompts: Sequence[int], rollouts: Sequence[int]) -> None:
        """Add submitted prompts: uid, dataset index and requested rollouts of each."""
        self._uids += uids
        self._prompts += prompts
        self._requested += rollouts

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
        self._weights = weights
        group_S = self.rows.prompt_S if self._joins else self.rows.place_S
        submitted = len(set(self._prompts) if self._joins else self._uids)
        self._factor_B, self._dropped = factors(self.rows, self.outcome, weights, group_S, submitted)

    def factors(self, keys: Sequence[str]) -> FloatArray:
        """Factor on the advantage of each row, one for anchors and padding, shape (B,)."""
        assert self._factor_B is not None
        if keys is self._keys:
            return self._factor_B
        known = dict(zip(self._keys, self._factor_B.tolist(), strict=True)) | self._recalled
        return np.array([known.get(key, 1.0) for key in keys])

    @property
    def several_outputs(self) -> bool:
        """Whether a session has more than one row."""
        assert self.rows is not None
        return int(np.count_nonzero(self.rows.session_B >= 0)) > len(self.rows.row_S)

    def latest_successes(self) -> dict[int, int]:
        """The session to remember of each prompt, by prompt."""
        assert self.outcome is not None and self._weights is not None
        remember_S = self._weights.remember_R
        rows: list[int] = [] if remember_S is None else np.flatnonzero(remember_S).tolist()
        return latest_rows(rows, self.outcome.prompt_R)

    def keys_of(self, session_M: IntArray | Sequence[int]) -> list[str]:
        """Keys of the last rows of sessions."""
        assert self.rows is not None
        rows: list[int] = self.rows.row_S[np.asarray(session_M, np.int64)].tolist()
        return [self._keys[row] for row in rows]

    def place(
        self,
        keys: Sequence[str],
        stored: Mapping[int, Sequence[object]],
        least_likely: Callable[[IntArray], Sequence[int]],
    ) -> Placed | None:
        """Which recalled rollouts join the rows of the loss, see `gdro.memory.placing.place`.

        Rows without a gradient are those of groups whose rewards agree or that are dropped. Rows of any
        other group stay, for verl compares the rows that it trains on.
        """
        assert self.rows is not None and self.outcome is not None
        assert self._weights is not None and self._factor_B is not None
        factor_S = self._factor_B[self.rows.row_S]
        moving_S = differing_rows(self.outcome) & (factor_S != 0.0)
        alive_S = np.isin(self.rows.prompt_S, self.rows.prompt_S[moving_S])
        # Groups that are dropped for lack of rows are not open to replays.
        weights = replace(self._weights, keep_R=self._weights.keep_R & (factor_S != 0.0))
        inside = set(keys)
        taken_S = [self._keys[row] in inside for row in self.rows.row_S.tolist()]
        chosen_S = np.flatnonzero(np.array(taken_S, bool))
        return place(weights, self.outcome, alive_S.astype(float), chosen_S, stored, least_likely)

    def join(self, placed: Placed) -> list[str]:
        """Keys for the recalled rows; their factors, and those of the groups they join, change.

        A replay's key is that of one more session of its group, so that verl compares them.
        """
        assert self.rows is not None and self._factor_B is not None
        row_S, prompt_S = self.rows.row_S, self.rows.prompt_S
        factor_S, num = self._factor_B[row_S], len(placed.replays)
        # Of a group that lost all rows but one, verl takes the reward as its advantage.
        factor_S[np.isin(prompt_S, prompt_S[placed.row_M])] = 0.0
        joined = join_weights(placed.replays, prompt_S, factor_S, factor_S != 0.0)
        self._factor_B[row_S] = joined[: len(row_S)]
        submitted = {
            prompt: (uid, number)
            for prompt, uid, number in reversed(
                list(zip(self._prompts, self._uids, self._requested, strict=True))
            )
        }
        keys = ["{}_{}_0".format(*submitted[replay.prompt]) for replay in placed.replays]
        self._recalled = dict(zip(keys, joined[len(row_S) :].tolist(), strict=True))
        anchors = placed.recalls[num:]
        first = uuid4()
        own = [f"{first}-{place}_0_0" for place in range(len(anchors))]
        self.anchors = {key: recall.advantage or 0.0 for key, recall in zip(own, anchors, strict=True)}
        return [*keys, *own]

    @property
    def recalled(self) -> set[str]:
        """Keys of the recalled rows."""
        return {*self._recalled, *self.anchors}

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
            "missing": sum(self._requested) - len(self.rows.row_S),
            "padding": sum(
                key.rsplit("_", 2)[0] not in uids and key not in self.anchors for key in keys
            ),
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
    return RowTable(order[last], np.array(prompts, np.int64)[place[last]], place[last], session_B)


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


def factors(
    rows: RowTable, outcome: Outcome, weights: Weights, group_S: IntArray, groups: int
) -> tuple[FloatArray, int]:
    """Factor on the advantage of each row of the batch, shape (B,), and the number of dropped groups.

    A group is dropped if fewer than two of its rollouts arrived, or if one has no finite reward: verl's
    advantages of the whole group are then not finite. `group_S` are labels of groups, of which so many
    were submitted.
    """
    _, place_S, size_G = np.unique(group_S, return_inverse=True, return_counts=True)
    broken_G = np.bincount(place_S, ~outcome.valid_mask_R, len(size_G)) > 0
    whole_G = (size_G >= LEAST) & ~broken_G
    factor_S = np.where(weights.keep_R & whole_G[place_S], weights.weight_R, 0.0)
    # The last entry is for padding, whose advantage is zero already.
    return np.append(factor_S, 1.0)[rows.session_B], groups - int(whole_G.sum())


def scale(advantages: Any, factor_B: FloatArray) -> None:
    """Multiply each row of a tensor of advantages by its factor, in place."""
    if bool(np.any(factor_B != 1.0)):
        advantages *= advantages.new_tensor(factor_B).unsqueeze(1)
        # Advantages of a dropped group may be NaN, which stay NaN times zero.
        advantages[advantages.new_tensor(factor_B == 0.0).bool()] = 0.0


def fix(advantages: Any, mask: Any, keys: Sequence[str], anchors: Mapping[str, float]) -> None:
    """Give anchors their fixed advantages on the tokens of the mask, in place."""
    rows = [row for row, key in enumerate(keys) if key in anchors]
    if rows:
        fixed = advantages.new_tensor([anchors[keys[row]] for row in rows])
        advantages[rows] = fixed.unsqueeze(1) * mask[rows].to(advantages.dtype)
