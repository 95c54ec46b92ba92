"""Every call of TransferQueue that the adapter makes."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import transfer_queue as tq
from tensordict import TensorDict
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
    return [field.get("reward_extra_info") or {} for field in objects(keys, "extra_fields")]


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


def groups() -> list[str]:
    """Uids of the training prompts that no batch was made of yet."""
    tags = (tq.kv_list(TRAIN) or {}).get(TRAIN, {})
    return [key for key, tag in tags.items() if tag.get("is_prompt", False)]


def keep_groups(uids: Collection[str]) -> int:
    """Delete all training prompts but these, and all other rows; the number of deleted prompts."""
    tags = (tq.kv_list(TRAIN) or {}).get(TRAIN, {})
    strange = [key for key in tags if key.split("_", 1)[0] not in uids]
    clear(strange)
    return sum(bool(tags[key].get("is_prompt", False)) for key in strange)


def clear(keys: list[str]) -> None:
    """Delete training rows."""
    if keys:
        tq.kv_clear(keys=keys, partition_id=TRAIN)


def tensors(keys: Sequence[str], name: str) -> list[Any]:
    """One field of training rows, a tensor each."""
    data: Any = tq.kv_batch_get(keys=list(keys), partition_id=TRAIN, select_fields=[name])
    return list(data[name].unbind())


def objects(keys: Sequence[str], name: str) -> list[Any]:
    """One field of training rows that is no tensor."""
    data: Any = tq.kv_batch_get(keys=list(keys), partition_id=TRAIN, select_fields=[name])
    return [getattr(value, "data", value) for value in data[name]]


def fields_of(key: str) -> dict[str, Any]:
    """Every field of one training row, by name."""
    row: Any = tq.kv_batch_get(keys=[key], partition_id=TRAIN)[0]
    return {str(name): row[name] for name in row.keys()}  # noqa: SIM118


def put(keys: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write fields of training rows that are there."""
    fields = list_of_dict_to_tensordict([dict(row) for row in rows])
    tq.kv_batch_put(keys=list(keys), partition_id=TRAIN, fields=fields)


@dataclass(frozen=True)
class RaggedField:
    """A field of M rows, each with its own number of values.

    Attributes:
        values: The rows' values, one row after another.
        size_M: Number of values of each row, shape (M,).
    """

    values: npt.NDArray[Any]
    size_M: IntArray

    def __len__(self) -> int:
        return len(self.size_M)

    def tensor(self) -> torch.Tensor:
        """As verl makes it of the rows: stacked if all are of one size, jagged otherwise; no copy."""
        values = torch.from_numpy(self.values)
        if (self.size_M == self.size_M[0]).all():
            return values.view(len(self.size_M), -1)
        ends = torch.from_numpy(np.append(0, np.cumsum(self.size_M)))
        return torch.nested.nested_tensor_from_jagged(values, ends)


Column: TypeAlias = RaggedField | list[Any]
"""Values of one field of several rows: a list has a tensor or an object for each of them."""


def insert(keys: Sequence[str], columns: Mapping[str, Column], tags: Sequence[dict[str, Any]]) -> None:
    """Write new training rows, all of their fields and a tag for each."""
    tq.kv_batch_put(keys=list(keys), partition_id=TRAIN, fields=table(columns), tags=list(tags))


def table(columns: Mapping[str, Column]) -> Any:
    """The rows in verl's form; a list of tensors becomes what `list_of_dict_to_tensordict` makes of it.

    Objects go in as one list of each field, which is what TransferQueue takes out of verl's stacks: a
    wrapper for each object would take most of the time. For `kv_batch_put`; one row of it has all lists.
    """
    lists = {name: column for name, column in columns.items() if isinstance(column, list)}
    tensors = {name: values for name, values in lists.items() if isinstance(values[0], torch.Tensor)}
    num = len(next(iter(columns.values())))
    fields = _stacked(tensors) if tensors else TensorDict({}, batch_size=[num])
    for name, column in columns.items():
        if isinstance(column, RaggedField):
            fields[name] = column.tensor()
        elif name not in tensors:
            fields.set_non_tensor(name, column)
    return fields


def _stacked(columns: Mapping[str, list[Any]]) -> Any:
    rows = zip(*columns.values(), strict=True)
    return list_of_dict_to_tensordict([dict(zip(columns, row, strict=True)) for row in rows])


def exchange(batch: Any, row_of: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
    """Put other rows, a key and a tag, in the places of some keys of a batch, which are deleted."""
    pairs = [row_of.get(key, (key, tag)) for key, tag in zip(batch.keys, batch.tags, strict=True)]
    clear(list(row_of))
    # In place, as verl reorders a batch: a new one copies every tag deeply.
    batch.keys, batch.tags = [key for key, _ in pairs], [tag for _, tag in pairs]
