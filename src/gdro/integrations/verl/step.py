"""One step's groups: what was asked for, what came back, and the factor on each row's advantage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gdro.types import BoolArray, FloatArray, IntArray, Outcome, Plan, Weights

LEAST = 2  # rollouts of a group: of one, verl takes the raw reward as advantage


@dataclass(frozen=True)
class Rows:
    """The rows of a batch that are rollouts of a plan.

    Attributes:
        row_S: Final row of each session, by prompt in plan order and then session, shape (S,).
        prompt_S: Dataset index of each session's prompt, shape (S,).
        session_B: Session of each row of the batch (-1: padding), shape (B,).
    """

    row_S: IntArray
    prompt_S: IntArray
    session_B: IntArray


def rows_of(keys: Sequence[str], groups: dict[str, int], plan: Plan) -> Rows:
    """Match a batch's rows with a plan by their keys, never by position.

    Args:
        keys: `{uid}_{session}_{output}` of each row; the last output of a session is its result.
        groups: Place in the plan of each uid.
        plan: The plan.

    Returns:
        The rows, in an order that does not depend on when they arrived.
    """
    parts = [key.rsplit("_", 2) for key in keys]
    place_B = np.array([groups.get(uid, -1) for uid, _, _ in parts], np.int64)
    number_B = np.array([int(session) for _, session, _ in parts], np.int64)
    output_B = np.array([int(output) for _, _, output in parts], np.int64)
    order = np.lexsort((output_B, number_B, place_B))
    order = order[place_B[order] >= 0]
    place, number = place_B[order], number_B[order]
    first = (np.diff(place, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 0)
    last = (np.diff(place, append=-1) != 0) | (np.diff(number, append=-1) != 0)
    session_B = np.full(len(keys), -1)
    session_B[order] = np.cumsum(first) - 1
    return Rows(order[last], plan.prompt_P[place[last]], session_B)


def outcome_of(
    plan: Plan, rows: Rows, reward_B: FloatArray, correct_B: BoolArray, tokens_B: IntArray
) -> Outcome:
    """What the controller is told.

    Args:
        plan: The plan.
        rows: Its rows.
        reward_B: Score of each row of the batch, shape (B,).
        correct_B: Whether it is right, shape (B,).
        tokens_B: Tokens generated in it, shape (B,).
    """
    in_session = rows.session_B >= 0
    tokens_S = np.bincount(rows.session_B[in_session], tokens_B[in_session], len(rows.row_S))
    return Outcome(
        plan.ticket, rows.prompt_S, reward_B[rows.row_S], correct_B[rows.row_S],
        tokens_R=tokens_S.astype(np.int64), valid_R=np.isfinite(reward_B[rows.row_S]),
    )  # fmt: skip


def factors(plan: Plan, rows: Rows, weights: Weights) -> tuple[FloatArray, int]:
    """Factor on the advantage of each row of the batch, shape (B,), and groups dropped for their size.

    Args:
        plan: The plan.
        rows: Its rows.
        weights: The controller's, one a session.
    """
    _, place_S, size_G = np.unique(rows.prompt_S, return_inverse=True, return_counts=True)
    enough_S = size_G[place_S] >= LEAST
    factor_S = np.where(weights.keep_R & enough_S, weights.weight_R, 0.0)
    # The last entry is for padding, whose advantage is zero already.
    factor_B = np.append(factor_S, 1.0)[rows.session_B]
    return factor_B, len(plan.prompt_P) - int((size_G >= LEAST).sum())
