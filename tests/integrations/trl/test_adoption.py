"""Going on from another run: of plain GRPO, over changed data, with other reward functions."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from trl import GRPOTrainer

from gdro import CheckpointError, GdroError
from gdro.integrations.trl import GDROConfig, GDROTrainer
from gdro.integrations.trl.checkpoints import (
    STATE_FILE,
    STORE_FILE,
    last_checkpoint,
    passed_over,
    resolved,
)
from gdro.log.run_log import read_jsonl

MEMORY = "rollout-gdro + memory(anchors=2, candidates=4, anchor_rate=0.1)"


def options(folder: Path, **given: Any) -> Any:
    return tiny.config(output_dir=str(folder), save_strategy="steps", save_steps=2, **given)


def make(
    folder: Path,
    strategy: str = MEMORY,
    rewards: Any = tiny.lucky,
    data: Dataset | None = None,
    steps: int = 4,
    **given: Any,
) -> GDROTrainer:
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=rewards,
        args=options(folder, max_steps=steps),
        train_dataset=data or tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        **given,
    )


@pytest.fixture(scope="module")
def grpo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """A folder of plain GRPO with checkpoints 2 and 4, and the weights after 4 steps."""
    folder = tmp_path_factory.mktemp("grpo")
    trainer = GRPOTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=options(folder, max_steps=4),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    return folder, tiny.weights(trainer)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of gdro with checkpoints 2 and 4."""
    folder = tmp_path_factory.mktemp("run")
    make(folder).train()
    return folder


def copied(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target / "run"))


def test_uniform_goes_on_from_grpo_bit_for_bit(grpo: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    ours = make(copied(grpo[0], tmp_path), "uniform")
    with pytest.warns(UserWarning, match=r"checkpoint-2: weights.*a GRPOTrainer wrote it") as told:
        ours.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert len([w for w in told if "start anew" in str(w.message)]) == 1
    assert torch.equal(tiny.weights(ours), grpo[1])
    assert ours.controller.ledger.closed == 2


def test_a_run_may_go_to_grpo_and_back(run: Path, tmp_path: Path) -> None:
    """What GRPOTrainer trained is not thrown away for an older checkpoint of ours."""
    folder = copied(run, tmp_path)
    plain = GRPOTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=options(folder, max_steps=6),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    plain.train(resume_from_checkpoint=True)
    ours = make(folder, steps=7)
    with pytest.warns(UserWarning, match="checkpoint-6: weights.*a GRPOTrainer wrote it"):
        ours.train(resume_from_checkpoint=True)
    assert ours.controller.ledger.closed == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": "mopps + " + MEMORY}, "joint.selector 'uniform', this controller 'mopps'"),
        ({"strategy": MEMORY.replace("anchors=2", "anchors=3")}, r"memory.anchors 2, this controller 3"),
        ({"strategy": MEMORY.replace("gdro +", "gdro(n_max=8) +")}, "rollout-gdro.n_max 12, this .* 8"),
    ],
)
def test_other_options_are_named_one_by_one_with_the_way_on(
    run: Path, tmp_path: Path, given: Any, words: str
) -> None:
    ours = make(copied(run, tmp_path), **given)
    with pytest.raises(CheckpointError, match=words) as told:
        ours.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert "resume_keys='fresh'" in str(told.value) and len(str(told.value)) < 600


def test_the_newest_checkpoint_of_grpo_is_whole_and_goes_on(
    grpo: tuple[Path, torch.Tensor], tmp_path: Path
) -> None:
    folder = copied(grpo[0], tmp_path)
    (folder / "checkpoint-4/trainer_state.json").write_text('{"log_hist')  # cut off by a kill
    assert last_checkpoint(folder) == str(folder / "checkpoint-2")
    ours = make(folder, steps=6)
    with pytest.warns(UserWarning, match="checkpoint-2: weights"):
        ours.train(resume_from_checkpoint=True)
    assert ours.state.global_step == 6
    assert [record["step"] for record in read_jsonl(folder / "gdro/steps.jsonl")] == [2, 3, 4, 5]
    again = make(folder, steps=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*start anew")
        again.train(resume_from_checkpoint=True)  # from ours now
    assert again.controller.ledger.closed == 6


def test_ours_without_its_file_is_not_taken_for_grpo(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path)
    for name in (STATE_FILE, STORE_FILE):
        (folder / "checkpoint-4" / name).unlink()
    assert last_checkpoint(folder) == str(folder / "checkpoint-2")
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gdro_memory.npz"):
        make(folder, steps=6).train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def test_changed_data_is_followed_or_refused_in_words_of_the_trainer(run: Path, tmp_path: Path) -> None:
    folder, fewer = copied(run, tmp_path), tiny.dataset(23)
    checkpoint = str(folder / "checkpoint-2")
    words = "23 keys match.* resume_keys='match' to the trainer"
    with pytest.raises(CheckpointError, match=words) as told:
        make(folder, data=fewer).train(resume_from_checkpoint=checkpoint)
    assert " keys='match'" not in str(told.value)
    ours = make(folder, data=fewer, resume_keys="match")
    ours.train(resume_from_checkpoint=checkpoint)
    assert ours.state.global_step == 4
    assert ours.controller.ledger.closed == 4
    visits = ours.controller.belief.visits_N
    assert len(visits) == 23
    assert visits.sum() > 8, "what was learned in the first two steps is kept"


def test_other_columns_make_other_keys_and_the_error_says_so(run: Path, tmp_path: Path) -> None:
    folder, data = copied(run, tmp_path), tiny.dataset().remove_columns("parity")
    checkpoint = str(folder / "checkpoint-2")
    for resume_keys in ("exact", "match"):
        with pytest.raises(CheckpointError, match=r"0 keys match.*hash of the whole row.*'fresh'"):
            make(folder, data=data, resume_keys=resume_keys).train(resume_from_checkpoint=checkpoint)
    ours = make(folder, data=data, resume_keys="fresh")
    with pytest.warns(UserWarning, match=r"start anew \(resume_keys='fresh'\)"):
        ours.train(resume_from_checkpoint=checkpoint)
    assert ours.state.global_step == 4
    assert ours.controller.ledger.closed == 2


def test_another_strategy_is_refused_or_starts_fresh(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path)
    checkpoint = str(folder / "checkpoint-2")
    with pytest.raises(CheckpointError, match="strategy"):
        make(folder, "uniform").train(resume_from_checkpoint=checkpoint)
    make(folder, "uniform", resume_keys="fresh").train(resume_from_checkpoint=checkpoint)
    with pytest.raises(CheckpointError, match=r"no gdro_memory.npz.*resume_keys='fresh'"):
        make(folder).train(resume_from_checkpoint=str(folder / "checkpoint-4"))


def other(completions: list[Any], **_: Any) -> list[float]:
    return [float("1" in tiny._text(c)) for c in completions]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([tiny.lucky], [tiny.lucky, tiny.length], False),
        ([tiny.lucky], [other], False),
        ([tiny.length, tiny.lucky], [tiny.lucky, tiny.length], True),
        ([tiny.length, tiny.lucky], [tiny.lucky], True),
    ],
    ids=["added", "another", "reordered", "removed"],
)
def test_other_reward_functions_are_followed(
    tmp_path: Path, before: list[Any], after: list[Any], kept: bool
) -> None:
    first = make(tmp_path, rewards=before, correct="lucky", steps=6)
    first.train()
    checkpoint = tmp_path / "checkpoint-6"
    with np.load(checkpoint / STORE_FILE) as file:
        stored = file["rewards_MK"]
    assert len(stored)
    ours = make(tmp_path, rewards=after, correct=after[0].__name__, steps=8)
    assert ours._gdro_memory is not None
    store, taken = ours._gdro_memory.store, []
    take = store.take
    store.take = lambda rollouts: take(taken.extend(rollouts) or taken)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ours.train(resume_from_checkpoint=str(checkpoint))
    empty = [w for w in told if "the memory starts empty" in str(w.message)]
    assert (len(taken), len(empty)) == ((len(stored), 0) if kept else (0, 1))
    rewards = {float(rollout.rewards_K[0]) for _, rollouts in taken for rollout in rollouts}
    assert rewards <= {1.0}, "the reward of the function of that name"
    assert ours.controller.ledger.closed == 8, "beliefs go on either way"


def test_resume_keys_is_checked_at_once_and_a_field_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(GdroError, match="resume_keys is 'all'; allowed: 'exact'"):
        make(tmp_path, resume_keys="all")
    with pytest.raises(GdroError, match="resume_keys is 'all'"):
        GDROConfig(str(tmp_path), bf16=False, resume_keys="all")
    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        train_dataset=tiny.dataset(),
        args=GDROConfig(
            str(tmp_path),
            bf16=False,
            use_cpu=True,
            resume_keys="match",
            per_device_train_batch_size=16,
            num_generations=4,
        ),
        processing_class=tiny.tokenizer(),
    )
    assert trainer._gdro_resume_keys == "match"


def test_a_torn_newest_checkpoint_is_named_with_why(tmp_path: Path, capsys) -> None:
    state = '{"log_history": [{"loss": 1.0, "gdro/total_rollouts": 8}]}'
    torn = {2: state, 4: '{"log_history": [1]}', 6: "[" * 100_000, 8: None, 10: state}
    for number, text in torn.items():
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        if text is not None:
            (folder / "trainer_state.json").write_text(text)
        if number < 10:
            (folder / STATE_FILE).touch()
    (tmp_path / "checkpoint-x").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    said: list[str] = []
    assert resolved(True, tmp_path, said.append) == str(tmp_path / "checkpoint-2")
    assert said == passed_over(tmp_path) and len(said) == 4
    assert "checkpoint-10 was passed over: it has no gdro.npz" in said[0]
    assert "checkpoint-8 was passed over: it has no trainer_state.json" in said[1]
    assert "checkpoint-6 was passed over: its trainer_state.json is damaged" in said[2]
    assert all(line.endswith("going on from checkpoint-2") for line in said)
    with pytest.raises(CheckpointError, match=r"no whole checkpoint in .*; pass the path"):
        resolved(True, tmp_path / "checkpoint-2")
