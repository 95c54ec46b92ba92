"""Every call of TransferQueue that the adapter makes."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import transfer_queue as tq
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

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


COUNTS = ("reward_timeouts", "reward_crashes")
"""Keys of extra results that are added up over a step, where a reward function returns them."""


def reward_extras(keys: list[str]) -> list[dict[str, Any]]:
    """The reward function's extra results for each training row, by name."""
    data: Any = tq.kv_batch_get(keys=keys, partition_id=TRAIN, select_fields=["extra_fields"])
    fields = [getattr(value, "data", value) for value in data["extra_fields"]]
    return [field.get("reward_extra_info") or {} for field in fields]


def reward_counts(extras: list[dict[str, Any]]) -> dict[str, FloatArray]:
    """Counts of the math reward for each row (zero where a row has none), shape (B,), by name.

    Empty if no row has any, as with other reward functions.
    """
    names = [name for name in COUNTS if any(name in extra for extra in extras)]
    return {name: np.array([float(extra.get(name) or 0) for extra in extras]) for name in names}


def reward_extra(extras: list[dict[str, Any]], name: str) -> FloatArray:
    """One extra result of the reward function for each training row, NaN for None, shape (B,).

    Raises:
        OutcomeError: A row lacks the key, or has no number there.
    """
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


def tensors(keys: Sequence[str], name: str) -> list[Any]:
    """One field of training rows, a tensor each."""
    data: Any = tq.kv_batch_get(keys=list(keys), partition_id=TRAIN, select_fields=[name])
    return list(data[name].unbind())


def fields_of(key: str) -> dict[str, Any]:
    """Every field of one training row, by name."""
    row: Any = tq.kv_batch_get(keys=[key], partition_id=TRAIN)[0]
    return {str(name): row[name] for name in row.keys()}  # noqa: SIM118


def put(
    keys: Sequence[str], rows: Sequence[Mapping[str, Any]], tags: Sequence[dict[str, Any]] | None = None
) -> None:
    """Write fields of training rows; rows that there are not yet need all fields and a tag."""
    fields = list_of_dict_to_tensordict([dict(row) for row in rows])
    given = None if tags is None else list(tags)
    tq.kv_batch_put(keys=list(keys), partition_id=TRAIN, fields=fields, tags=given)


def exchange(batch: Any, row_of: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
    """Put other rows, a key and a tag, in the places of some keys of a batch, which are deleted."""
    pairs = [row_of.get(key, (key, tag)) for key, tag in zip(batch.keys, batch.tags, strict=True)]
    clear(list(row_of))
    # In place, as verl reorders a batch: a new one copies every tag deeply.
    batch.keys, batch.tags = [key for key, _ in pairs], [tag for _, tag in pairs]
