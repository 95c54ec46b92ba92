"""Rows that are made wider are padded as TRL pads them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl.trainer.utils import pad

from gdro.errors import UnsupportedError
from gdro.integrations.trl.batches import PADDINGS, padded_tensors, replace_rows, select_rows
from gdro.memory.store import StoredRollout

PAD = 7
ONE_PROCESS = SimpleNamespace(num_processes=1, process_index=0)


def rows(name: str, *lengths: int) -> list[torch.Tensor]:
    """Rows of one tensor; values that no padding has."""
    kind = torch.long if name.endswith(("_ids", "_mask")) else torch.float32
    return [torch.full((length,), 3, dtype=kind) for length in lengths]


def padded(name: str, *lengths: int, multiple: int | None = None) -> torch.Tensor:
    """As TRL pads: old log-probabilities and ratios are computed on padded tokens, so a ratio is 1."""
    value, side = PADDINGS[name].value, "left" if name.startswith("prompt") else "right"
    filling = PAD if value is None else value
    return pad(rows(name, *lengths), filling, side, pad_to_multiple_of=multiple)


def test_the_table_is_trls() -> None:
    ones = {name for name, padding in PADDINGS.items() if padding.value == 1}
    assert ones == {"tool_mask", "importance_sampling_ratio"}
    assert {n for n, p in PADDINGS.items() if p.value is None} == {"prompt_ids", "completion_ids"}
    assert {n for n, p in PADDINGS.items() if p.left} == {"prompt_ids", "prompt_mask"}


@pytest.mark.parametrize("name", sorted(PADDINGS))
def test_rows_of_rounds_of_different_width(name: str) -> None:
    first = {"completion_ids": torch.zeros(2, 1), name: padded(name, 2, 3)}
    second = {"completion_ids": torch.zeros(2, 1), name: padded(name, 5, 4)}
    got = select_rows([first, second], np.array([1, 2]), ONE_PROCESS, PAD)[name]
    assert torch.equal(got, padded(name, 3, 5))


def test_a_tensor_that_trl_does_not_pad_is_refused_by_name() -> None:
    batch = {"completion_ids": torch.zeros(2, 1), "pixel_values": torch.zeros(2, 3)}
    with pytest.raises(
        UnsupportedError, match="'pixel_values', whose rows gdro does not know how to pad"
    ):
        select_rows([batch, batch], np.array([0, 3]), ONE_PROCESS, PAD)


def test_what_a_tool_said_stays_masked_and_padding_is_as_trls() -> None:
    own = np.array([True, False, False, True])
    tokens = np.full(4, 3, np.int32)
    stored = StoredRollout(tokens[:2], tokens, np.ones(1, np.float32), own)
    recalled = padded_tensors([stored], PAD, 3, torch.device("cpu"))
    assert recalled["tool_mask"].tolist() == [[1, 0, 0, 1, 1, 1]]
    batch = {name: padded(name, 2, 1) for name in recalled}
    wider = replace_rows(batch, recalled, np.array([1]), PAD)
    assert wider["tool_mask"].tolist() == [[3, 3, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1]]


def test_rounds_count_the_tokens_of_the_loss() -> None:
    first = {
        "completion_mask": torch.tensor([[1, 1], [1, 0]]),
        "tool_mask": torch.tensor([[0, 1], [1, 1]]),
    }
    second = {"completion_mask": torch.tensor([[1, 1, 1]]), "tool_mask": torch.tensor([[1, 0, 0]])}
    rounds = [r | {"completion_ids": r["completion_mask"]} for r in (first, second)]
    got = select_rows(rounds, np.array([0, 2]), ONE_PROCESS, PAD)
    assert got["tool_mask"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert int(got["num_items_in_batch"]) == 2


@pytest.mark.parametrize(("multiple", "width"), [(None, 5), (4, 8)])
def test_recalled_rows_keep_to_the_multiple_of_the_config(multiple: int | None, width: int) -> None:
    stored = StoredRollout(np.full(5, 3, np.int32), np.full(5, 3, np.int32), np.ones(1, np.float32))
    recalled = padded_tensors([stored], PAD, multiple, torch.device("cpu"))
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    assert list(recalled) == [*names, "tool_mask"]
    batch = {name: padded(name, 2, 4, multiple=multiple) for name in names}
    got = replace_rows(
        batch, {n: 3 * v if n.endswith("mask") else v for n, v in recalled.items()}, np.array([0]), PAD
    )
    assert recalled["tool_mask"].tolist() == [[1] * width]
    for name in names:
        assert got[name].shape == (2, width)
        assert torch.equal(got[name], padded(name, 5, 4, multiple=multiple))
