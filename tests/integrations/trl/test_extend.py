"""Extensions, compositions and column bins in real trainings."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig

from gdro import Difficulty
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.batches import chosen_rows, select_rows


def make(strategy, rewards=tiny.lucky, options=None, **kw):
    extra = {k: kw.pop(k) for k in ("difficulty", "prompt_equal", "peft_config") if k in kw}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=rewards,
        args=tiny.config(**kw),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        strategy_options=options,
        id_column="id",
        **extra,
    )


def spied(strategy, **kw):
    """A trainer that keeps each step's batch and outcome."""
    trainer = make(strategy, **kw)
    batches, outcomes = [], []
    generate, weigh = trainer._generate_and_score_completions, trainer.controller.weigh

    def keep_batch(inputs):
        batches.append(generate(inputs))
        return batches[-1]

    def keep_outcome(outcome):
        outcomes.append((outcome, weigh(outcome)))
        return outcomes[-1][1]

    trainer._generate_and_score_completions = keep_batch
    trainer.controller.weigh = keep_outcome
    return trainer, batches, outcomes


def plain(text):
    """Without special tokens and the decoder's spaces."""
    return text.replace("$", "").replace("_", "").replace(" ", "")


def texts(trainer, batch, row):
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
    return tuple("".join(trainer._tokenizer.convert_ids_to_tokens(ids)) for ids in (prompt, answer))


@pytest.mark.parametrize("strategy", ["dapo", "reinforce-ada", "speed", "greso + knapsack + dapo"])
def test_rows_stay_constant_and_belong_together(strategy):
    seen = {}

    def judged(prompts, completions, answer, **_):
        rewards = tiny.lucky(completions, answer)
        for row in zip(prompts, completions, rewards, strict=True):
            seen.setdefault((row[0], plain(row[1])), row[2])
        return rewards

    trainer, batches, outcomes = spied(strategy, rewards=judged, max_steps=5)
    trainer.train()
    ledger = trainer.controller.ledger
    assert ledger.rollouts == ledger.planned > 80, "nothing was ever extended"
    assert ledger.tokens > 0
    extended = 0
    for batch, (outcome, weights) in zip(batches, outcomes, strict=True):
        extended += len(outcome.prompt_R) > 16
        rows = chosen_rows(weights.keep_R, 16)
        assert all(v.shape[0] == 16 for v in batch.values() if torch.is_tensor(v) and v.ndim)
        assert int(batch["num_items_in_batch"]) == int(batch["completion_mask"].sum())
        data = tiny.dataset()
        for row, source in enumerate(rows):
            prompt, answer = texts(trainer, batch, row)
            assert prompt == data[int(outcome.prompt_R[source])]["prompt"]
            assert seen[prompt, plain(answer)] == outcome.reward_R[source]
            if not weights.keep_R[source]:
                assert batch["advantages"][row] == 0
    assert extended


def test_advantages_of_kept_rows_are_those_of_their_group():
    trainer, batches, outcomes = spied("dapo", max_steps=4)
    trainer.train()
    for batch, (outcome, weights) in zip(batches, outcomes, strict=True):
        rows = chosen_rows(weights.keep_R, 16)
        for row, source in enumerate(rows):
            if weights.keep_R[source]:
                group = outcome.reward_R[outcome.prompt_R == outcome.prompt_R[source]]
                want = (outcome.reward_R[source] - group.mean()) / (group.std(ddof=1) + 1e-4)
                assert batch["advantages"][row].item() == pytest.approx(want, abs=1e-5)


def test_reinforce_ada_centres_over_all_rollouts():
    trainer, batches, outcomes = spied("reinforce-ada", max_steps=4)
    trainer.train()
    moved = 0
    for batch, (outcome, weights) in zip(batches, outcomes, strict=True):
        for row, source in enumerate(chosen_rows(weights.keep_R, 16)):
            group = outcome.reward_R[outcome.prompt_R == outcome.prompt_R[source]]
            want = (outcome.reward_R[source] - group.mean()) / (group.std(ddof=1) + 1e-4)
            assert batch["advantages"][row].item() == pytest.approx(want, abs=1e-5)
            moved += len(group) > 4
    assert moved


def test_dapo_that_is_never_needed_is_grpo():
    """One batch at most: the same weights as uniform, bit for bit."""
    one = make("dapo", options={"max_num_gen_batches": 1}, max_steps=4)
    one.train()
    plain = make("uniform", max_steps=4)
    plain.train()
    assert torch.equal(tiny.weights(one), tiny.weights(plain))


@pytest.mark.parametrize(
    "options",
    [
        {"num_iterations": 2},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8},
        {"beta": 0.1, "peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"])},
        {"loss_type": "dr_grpo", "scale_rewards": "batch"},
        {"prompt_equal": True},
    ],
)
def test_extensions_with_features_of_the_trainer(options):
    trainer = make("dapo + prompt-gdro", max_steps=4, **options)
    trainer.train()
    assert trainer.controller.open_tickets == []
    assert torch.isfinite(tiny.weights(trainer)).all()


def test_columns_are_read_from_the_dataset():
    trainer = make(
        "adarft + rollout-gdro", difficulty=Difficulty(bins="product", column="parity"), max_steps=3
    )
    trainer.train()
    assert trainer.controller.problem.columns["difficulty"].tolist() == list(map(float, range(24)))
    assert trainer.controller.belief.num_bins == 20


class OneRank:
    """An accelerator without other ranks."""

    num_processes, process_index = 1, 0


def test_rows_are_padded_on_the_right_side():
    def batch(prompt, completion):
        return {
            "prompt_ids": torch.tensor(prompt),
            "prompt_mask": torch.ones_like(torch.tensor(prompt)),
            "completion_ids": torch.tensor(completion),
            "completion_mask": torch.ones_like(torch.tensor(completion)),
            "advantages": torch.zeros(len(prompt)),
            "num_items_in_batch": torch.tensor(99),
        }

    rounds = [batch([[1], [2]], [[3, 4], [5, 6]]), batch([[7, 8]], [[9]])]
    got = select_rows(rounds, np.array([1, 2]), OneRank(), pad_id=0)
    assert got["prompt_ids"].tolist() == [[0, 2], [7, 8]]
    assert got["prompt_mask"].tolist() == [[0, 1], [1, 1]]
    assert got["completion_ids"].tolist() == [[5, 6], [9, 0]]
    assert got["completion_mask"].tolist() == [[1, 1], [1, 0]]
    assert int(got["num_items_in_batch"]) == 3


def test_chosen_rows():
    keep = np.array([False, True, False, True, True])
    assert chosen_rows(keep, 3).tolist() == [1, 3, 4]
    assert chosen_rows(keep, 4).tolist() == [0, 1, 3, 4]


def test_adapter_has_no_other_loop():
    """Every generation goes through the controller's plan or extension."""
    source = inspect.getsource(GDROTrainer.__mro__[1])
    assert source.count("self._gdro_generate(") == 2
