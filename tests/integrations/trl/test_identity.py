"""Which rows are the same prompt: all columns count, and under `uniform` every row is its own."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset, Image, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import GRPOTrainer

from gdro import Controller, ProblemError, make_strategy
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.row_keys import _block_keys, row_key
from gdro.integrations.trl import GDROTrainer


def data(column: str, num: int = 12) -> Dataset:
    """Pairs of rows with one prompt, which differ only in one column."""
    rows = [{"prompt": f"{i // 2:02d}+a=", column: str(i % 2)} for i in range(num)]
    return Dataset.from_list(rows)


def by_column(column: str) -> Any:
    """Right when the text has a digit of the row's own parity."""

    def reward(completions: list[str], **columns: Any) -> list[float]:
        return tiny.lucky(completions, columns[column])

    return reward


def make(train: Dataset, reward: Any, strategy: str = "uniform", **given: Any) -> GDROTrainer:
    own = {k: given.pop(k) for k in ("apply", "controller") if k in given}
    chosen = {} if "controller" in own else {"strategy": strategy}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=reward,
        args=tiny.config(**given),
        train_dataset=train,
        processing_class=tiny.tokenizer(),
        **chosen,
        **own,
    )


def plain(train: Dataset, reward: Any, **given: Any) -> GRPOTrainer:
    trainer = GRPOTrainer(
        model=tiny.model(),
        reward_funcs=reward,
        args=tiny.config(**given),
        train_dataset=train,
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("column", ["label", "gt", "expected", "test_cases", "task", "length"])
def test_rows_that_differ_in_any_column_are_different_prompts(column: str) -> None:
    train, reward = data(column), by_column(column)
    grpo = plain(train, reward)
    for chosen in ({"strategy": "uniform"}, {"strategy": "rollout-gdro", "apply": False}):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*copies")
            ours = make(train, reward, **chosen)
        ours.train()
        assert ours.controller.problem.num_prompts == 12
        assert torch.equal(tiny.weights(ours), tiny.weights(grpo))


def test_columns_reach_the_reward_of_their_own_row() -> None:
    seen: set[tuple[str, str]] = set()

    def spy(prompts: list[str], completions: list[str], label: list[str], **_: Any) -> list[float]:
        seen.update(zip(prompts, label, strict=True))
        return tiny.lucky(completions, label)

    make(data("label"), spy, "rollout-gdro", max_steps=6).train()
    assert seen == {(row["prompt"], row["label"]) for row in data("label")}


@pytest.mark.parametrize("given", [{"strategy": "uniform"}, {"strategy": "joint", "apply": False}])
def test_copies_are_the_trainers_own_groups_where_nothing_is_planned(given: dict[str, Any]) -> None:
    train = concatenate_datasets([tiny.dataset(8)] * 3)  # 24 rows: most batches hold copies
    grpo = plain(train, tiny.lucky, max_steps=6)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*copies")
        ours = make(train, tiny.lucky, max_steps=6, **given)
    ours.train()
    assert torch.equal(tiny.weights(ours), tiny.weights(grpo))
    assert ours.controller.problem.num_prompts == 24
    visits = ours.controller.belief.visits_N.reshape(3, 8).sum(axis=0)
    assert visits.tolist() == [3] * 8, "each copy was visited once"


def test_copies_are_one_prompt_where_rollouts_are_planned() -> None:
    train = concatenate_datasets([tiny.dataset(8)] * 3)
    with pytest.warns(UserWarning, match="16 of 24 rows are exact copies of other rows") as told:
        ours = make(train, tiny.lucky, "rollout-gdro", max_steps=6)
    assert len([w for w in told if "exact copies" in str(w.message)]) == 1
    ours.train()
    assert ours.controller.problem.num_prompts == 8
    assert ours.controller.ledger.rollouts == 96


@pytest.mark.parametrize("separate", [True, False])
def test_a_ready_controller_brings_either_pool(separate: bool) -> None:
    train = concatenate_datasets([tiny.dataset(8)] * 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = dataset_pool(train, separate=separate)
        ours = make(train, tiny.lucky, controller=Controller(make_strategy("uniform"), pool.problem))
    ours.train()
    assert ours.controller.problem.num_prompts == (16 if separate else 8)


ODD: dict[str, list[Any]] = {
    "prompt": [[{"role": "user", "content": "1"}], [{"role": "user", "content": "2"}]],
    "none": [None, "x"],
    "when": [datetime(2026, 1, 2), datetime(2026, 1, 3)],
    "day": [date(2026, 1, 2), date(2026, 1, 3)],
    "raw": [b"\x00\xff", b"\x01"],
    "vector": [[0.1, float("nan")], [0.2]],
    "tests": [{"in": ["1"], "out": None}, {"in": [], "out": "2"}],
}


@pytest.mark.parametrize("kind", [None, "numpy", "torch"])
def test_rows_of_any_type_have_the_key_that_the_trainer_sees(kind: str | None) -> None:
    train = Dataset.from_dict(ODD)
    if kind is not None:
        train = train.select_columns(["prompt", "vector", "tests"]).with_format(kind)
    pool = dataset_pool(train)
    assert pool.problem.num_prompts == 2
    assert pool.indices([train[1], train[0]]) == [1, 0]


def test_an_image_is_compared_by_its_content() -> None:
    from PIL import Image as Pixels

    pictures = [Pixels.new("RGB", (2, 2), colour) for colour in ("red", "red", "blue")]
    train = Dataset.from_dict({"prompt": ["1"] * 3, "scan": pictures}).cast_column("scan", Image())
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        assert dataset_pool(train).problem.num_prompts == 2


def test_a_value_without_content_is_refused_with_its_column() -> None:
    with pytest.raises(ProblemError, match=r"column 'thing' holds values of type object.*id_column"):
        row_key({"prompt": "1", "thing": object()})
    pool = dataset_pool(tiny.dataset(4))
    with pytest.raises(ProblemError, match="without column 'answer'"):
        pool.indices([{"prompt": "00+a="}])
    with pytest.raises(ProblemError, match="did not have at start"):
        pool.indices([dict(tiny.dataset(5)[4])])


def test_a_key_is_the_same_in_every_process_and_release() -> None:
    """A checkpoint of today must match tomorrow: these digits may never change."""
    row = {"b": [1, 2.5, None], "prompt": "1+1", "a": {"y": "ä", "x": True}}
    code = f"from gdro.integrations.row_keys import row_key; print(row_key({row!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == row_key(row) == row_key(dict(reversed(row.items())))
    assert row_key({"v": np.arange(3)}) != row_key({"v": np.arange(3.0)})
    assert row_key(row) == "d08dcbdaf34213e5f032d925e99c1268"


@given(
    st.lists(
        st.tuples(
            st.text(),
            st.integers() | st.floats() | st.none() | st.booleans(),
            st.lists(st.text(), max_size=2),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=200, deadline=None)
def test_keys_of_a_block_are_those_of_its_rows(rows):
    names = ("prompt", "50% of\n", "messages")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    expected = [row_key(dict(zip(names, row, strict=True))) for row in rows]
    assert _block_keys(columns) == expected
