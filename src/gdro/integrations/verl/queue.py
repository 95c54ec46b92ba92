"""Every call of TransferQueue that the adapter makes."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from typing import Any

import numpy as np
import transfer_queue as tq

from gdro.errors import OutcomeError
from gdro.numerics.arrays import FloatArray, IntArray

TRAIN = "train"


def scores(keys: list[str]) -> tuple[FloatArray, IntArray]:
    """Reward and number of tokens of each training row, shapes (B,)."""
    data: Any = tq.kv_batch_get(
        keys=keys, partition_id=TRAIN, select_fields=["rm_scores", "response_mask"]
    )
    reward_B = np.array([float(row.double().sum()) for row in data["rm_scores"].unbind()])
    tokens_B = np.array([int(row.sum()) for row in data["response_mask"].unbind()])
    return reward_B, tokens_B


def reward_extra(keys: list[str], name: str) -> FloatArray:
    """A key of the reward function's extra results for each training row, NaN for None, shape (B,).

    Raises:
        OutcomeError: A row lacks the key, or has no number there.
    """
    data: Any = tq.kv_batch_get(keys=keys, partition_id=TRAIN, select_fields=["extra_fields"])
    fields = [getattr(value, "data", value) for value in data["extra_fields"]]
    extras = [field.get("reward_extra_info", {}) for field in fields]
    lacking = next((extra for extra in extras if name not in extra), None)
    if lacking is not None:
        raise OutcomeError(
            f"+gdro.correct={name}: a rollout's reward has no {name!r}, it has "
            f"{', '.join(lacking) or 'nothing extra'}; return it from compute_score, or leave it out"
        )
    try:
        return np.array([np.nan if extra[name] is None else float(extra[name]) for extra in extras])
    except (TypeError, ValueError) as error:
        raise OutcomeError(
            f"+gdro.correct={name}: a rollout's {name!r} is no number ({error}); return a number, True "
            "or False, or None where it is not known whether the rollout is right"
        ) from error


def batch_of(tags: dict[str, Any]) -> tq.KVBatchMeta:
    """verl's handle of training rows, from their tags by key."""
    return tq.KVBatchMeta(partition_id=TRAIN, keys=list(tags), tags=list(tags.values()))


def clear(keys: list[str]) -> None:
    """Delete training rows."""
    if keys:
        tq.kv_clear(keys=keys, partition_id=TRAIN)
