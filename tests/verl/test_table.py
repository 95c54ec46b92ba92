"""Rows in one piece, as TransferQueue takes them, beside verl's own tables; no Ray is started."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_memory import fields
from transfer_queue.metadata import BatchMeta, extract_field_schema
from transfer_queue.storage.managers.base import KVStorageManager
from transfer_queue.storage.managers.simple_storage_manager import AsyncSimpleStorageManager
from transfer_queue.utils.serial_utils import MsgpackDecoder, MsgpackEncoder
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from gdro.integrations.verl import queue
from gdro.integrations.verl.recalled import columns_of, stored

OBJECTS = {
    "multi_modal_inputs": {},
    "nothing": None,
    "tools": ["a", {"b": None}],
    "array": np.arange(4),
    "scalar": np.float64(2.5),
    "messages": [{"role": "user", "content": "x"}],
    "mixed": [np.arange(2), None],
}


def same(a: Any, b: Any) -> bool:
    """Whether two values of a field are equal, tensors and arrays inside included."""
    if isinstance(a, torch.Tensor) and a.is_nested:
        return same(list(a.unbind()), list(b.unbind()))
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


def sent(table: Any, places: list[int]) -> Any:
    """What a storage unit gets of some rows."""
    taken = {
        name: AsyncSimpleStorageManager._select_by_positions(table[name], places)
        for name in sorted(table.keys())
    }
    return MsgpackDecoder().decode(MsgpackEncoder().encode({"data": taken}))["data"]


@pytest.mark.parametrize("axes", [(), (3,)])
@pytest.mark.parametrize("num", [1, 2, 5])
def test_the_queue_gets_what_it_would_get_of_verl_s_table(num: int, axes: tuple[int, ...]) -> None:
    """Schema, parts for storage units after their serialisation, and values for other stores."""
    fresh = fields(position_ids=torch.arange(3).expand(*axes, -1), **OBJECTS)
    rollouts = [
        stored(torch.arange(1, 2 + i % 2), torch.arange(1, 2 + i), torch.ones(1 + i), 1.0, 3)
        for i in range(num)
    ]
    columns = columns_of(fresh, rollouts, [{"uid": f"u{i}"} for i in range(num)])
    rows = [
        {
            n: column[i] if isinstance(column, list) else column.tensor()[i]
            for n, column in columns.items()
        }
        for i in range(num)
    ]
    mine, theirs = queue.table(columns), list_of_dict_to_tensordict(rows)
    assert extract_field_schema(mine) == extract_field_schema(theirs)
    for places in (list(range(num)), [0], list(range(0, num, 2))):
        a, b = sent(mine, places), sent(theirs, places)
        assert a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    assert same(KVStorageManager._generate_values(mine), KVStorageManager._generate_values(theirs))
    metas = [BatchMeta(list(range(num)), ["train"] * num).add_fields(t) for t in (mine, theirs)]
    assert metas[0].field_schema == metas[1].field_schema
