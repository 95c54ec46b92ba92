"""What is wrong with data and options is said before any work, in the trainer's words."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
from datasets import DatasetDict, concatenate_datasets

from gdro import Difficulty, GdroError, ProblemError, make_strategy
from gdro.integrations.dataset import dataset_pool, wanted_columns
from gdro.integrations.trl import GDROTrainer


def make(rewards: Any = tiny.lucky, data: Any = None, strategy: str = "uniform", **given: Any):
    own = {k: given.pop(k) for k in ("correct", "id_column", "difficulty") if k in given}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=rewards,
        args=tiny.config(**given),
        train_dataset=tiny.dataset() if data is None else data,
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        **own,
    )


ROWS = tiny.dataset(8).to_list()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (ROWS, r"is a list; .*datasets.Dataset.*Dataset.from_list\(rows\)"),
        (pd.DataFrame(ROWS), r"is a DataFrame; .*Dataset.from_pandas\(frame\)"),
        (DatasetDict({"train": tiny.dataset(8)}), r"is a DatasetDict; .*data\['train'\]"),
        (DatasetDict(), "DatasetDict.*it is empty"),
        (tiny.dataset(8).select([]), "train_dataset is empty: it has no rows"),
        (tiny.dataset(8).with_format("pandas"), r"format 'pandas', .*pass .*with_format\(None\)"),
        (tiny.dataset(8).with_format("arrow"), r"format 'arrow', .*pass .*with_format\(None\)"),
        ("openai/gsm8k", "is a str; .*load one with datasets.load_dataset"),
        (object(), "is a object; a map-style datasets.Dataset is needed"),
        (tiny.dataset(8).to_iterable_dataset(), "IterableDataset; plans need rows by index"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_dataset_is_refused_with_the_call_that_makes_one(data: Any, words: str) -> None:
    with pytest.raises(GdroError, match=words):
        make(data=data)


def test_fewer_prompts_than_a_step_takes_are_refused() -> None:
    with pytest.raises(ProblemError, match=r"3 rows, and a step needs 4 prompts .*size 16 / num_gen"):
        make(data=tiny.dataset(3))
    copies = concatenate_datasets([tiny.dataset(3)] * 2)
    with (
        pytest.warns(UserWarning, match="exact copies"),
        pytest.raises(ProblemError, match="has 3 distinct prompts, and a step needs 4"),
    ):
        make(data=copies, strategy="mopps")
    trainer = make(data=tiny.dataset(4), max_steps=1)
    trainer.train()
    assert trainer.controller.ledger.rollouts == 16


@pytest.mark.parametrize("wrong", ["easy", [0.5], 50.0, -0.1])
def test_priors_that_are_no_pass_rates_are_refused_with_column_and_row(wrong: Any) -> None:
    rows = tiny.dataset(8).add_column("known", [wrong] * 8)
    with pytest.raises(
        ProblemError, match=r"prior column 'known' is .* in row 0; .*pass rates, numbers"
    ):
        dataset_pool(rows, prior_column="known")


def test_copies_that_leave_a_step_too_few_prompts_are_refused_at_once() -> None:
    """Not in the step where they meet: four rows of one prompt cannot have 16 rollouts of 12 at most."""
    copies = concatenate_datasets([tiny.dataset(1)] * 6 + [tiny.dataset(12)])
    words = r"copies, 7 of one row.*4 rows of a step may be 1 prompt, rollout-gdro .*n_max=12.*has 16"
    with pytest.warns(UserWarning, match="exact copies"), pytest.raises(ProblemError, match=words):
        make(data=copies.remove_columns("id"), strategy="rollout-gdro")
    with pytest.warns(UserWarning, match="exact copies"):
        make(data=concatenate_datasets([tiny.dataset(12)] * 2), strategy="rollout-gdro")
        make(data=copies, strategy="prompt-gdro")
    apart = copies.remove_columns("id").add_column("id", list(range(len(copies))))
    own = {"max_steps": 1, "id_column": "id"}
    make(data=apart, strategy="rollout-gdro", **own).train()


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(GdroError, match=rf"args.seed is {seed}; allowed: 0 to 4294967295"):
        make(seed=seed)


def test_an_output_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("")
    with pytest.raises(GdroError, match=r"args.output_dir is '.*out', which is a file; give a folder"):
        make(output_dir=str(file))
    with pytest.raises(GdroError, match=r"args.output_dir is '.*deep', and .*out is a file"):
        make(output_dir=str(file / "deep"))
    assert file.read_text() == ""


def test_reward_functions_of_one_name_are_told_apart_or_refused() -> None:
    def lucky(completions: list[Any], **_: Any) -> list[float]:
        return tiny.length(completions)

    rewards = [lucky, tiny.length, tiny.lucky]
    with pytest.raises(GdroError, match="fits two: reward functions 0 and 2 are both called 'lucky'"):
        make(rewards, correct="lucky")
    with pytest.warns(UserWarning, match="both called 'lucky': the trainer logs them as one"):
        make(rewards, correct=("length", 0.5), max_steps=1).train()


@pytest.mark.parametrize("conversational", [False, True])
def test_a_predictor_reads_texts_numbers_and_lists_of_numbers(conversational: bool) -> None:
    rows = tiny.dataset(8, conversational).add_column("vector", [[float(i), 1.0] for i in range(8)])
    names = wanted_columns(
        make_strategy("uniform"), Difficulty(predictor=("prompt", "difficulty", "vector"))
    )
    problem = dataset_pool(rows, columns=names).problem
    assert problem.texts == [f"0{i}+a=" for i in range(8)]
    assert problem.columns["vector"].shape == (8, 2) and set(problem.columns) == {"difficulty", "vector"}
    ragged = tiny.dataset(8).add_column("vector", [[1.0] * (1 + i % 2) for i in range(8)])
    with pytest.raises(ProblemError, match="column 'vector' holds lists of different lengths"):
        dataset_pool(ragged, columns=("vector",))
    with pytest.raises(ProblemError, match="the dataset has no column 'vector'"):
        dataset_pool(tiny.dataset(8), columns=("vector",))


def test_a_trainer_predicts_from_what_it_reads() -> None:
    difficulty = Difficulty(predictor=("prompt", "parity"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*a prompt is visited about")
        trainer = make(
            strategy="rollout-gdro", data=tiny.dataset(96), difficulty=difficulty, max_steps=20
        )
    trainer.train()
    parity = np.array(tiny.dataset(96)["parity"][:])
    unseen = trainer.controller.belief.visits_N == 0
    rates = [
        trainer.controller.belief.pass_rate(np.flatnonzero(unseen & (parity == p)))
        for p in ("odd", "even")
    ]
    assert rates[0].mean() > rates[1].mean() + 0.2  # odd prompts are right more often, see tiny.lucky
