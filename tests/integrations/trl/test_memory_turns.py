"""Memory with turns: what tools said is stored with the answer, and is no part of the loss again."""

from __future__ import annotations

import warnings
from typing import Any

import agents
import numpy as np
import pytest
import tiny
import torch
import trl.trainer.grpo_trainer as seam
from agents import KINDS, WITH_TOOLS, make
from fake_vllm import FakeVLLM

from gdro.integrations.trl.turns import loss_mask
from gdro.memory.store import StoredRollout

ALL = [
    pytest.param(kind, marks=() if kind == "rollout function" else WITH_TOOLS) for kind in sorted(KINDS)
]
SMALL = "memory(anchors=3, candidates=6, anchor_rate=0.1, anchor_advantage=0.5)"
CORRECT = {"two environments": ["Guess", ("Parity", 0.9)]}


def row_of(batch: dict[str, Any], row: int) -> tuple[Any, ...]:
    answer = batch["completion_mask"][row].bool()
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    own = loss_mask(batch)[row][answer]
    return tuple(tuple(t.tolist()) for t in (prompt, batch["completion_ids"][row][answer], own))


def stored(rollout: StoredRollout) -> tuple[Any, ...]:
    own = tuple(map(int, rollout.own.tolist()))
    return tuple(rollout.prompt_ids.tolist()), tuple(rollout.completion_ids.tolist()), own


def few(kind: str) -> Any:
    """A few prompts, so that each is visited often."""
    return KINDS[kind]["train_dataset"](8)


def spied(kind: str, strategy: str = f"uniform + {SMALL}", **options: Any) -> tuple[Any, list[Any]]:
    given = {"correct": CORRECT.get(kind), "train_dataset": few(kind), "max_steps": 10}
    trainer = make(kind, strategy=strategy, **(given | options))
    steps: list[Any] = []
    rows, recall = trainer._gdro_batch, trainer._gdro_memory.recall

    def keep_recall(step: Any, fresh: Any, chosen_R: Any) -> Any:
        generated = [row_of(b, r) for b in step.batches for r in range(len(b["advantages"]))]
        result = recall(step, fresh, chosen_R)
        steps.append([step, result[1], generated])
        return result

    def keep_rows(step: Any) -> Any:
        batch = rows(step)
        steps[-1].append({k: v.clone() for k, v in batch.items() if torch.is_tensor(v)})
        return batch

    trainer._gdro_batch, trainer._gdro_memory.recall = keep_rows, keep_recall
    return trainer, steps


# Two kinds with further rounds and two without.
OFTEN = {
    ("environment", True),
    ("rollout function", True),
    ("tools", False),
    ("two environments", False),
}


@pytest.mark.parametrize(("kind", "rounds"), agents.pairs([False, True], OFTEN))
def test_recalled_rows_are_whole_and_masked(kind: str, rounds: bool) -> None:
    trainer, steps = spied(kind, f"{'reinforce-ada(rounds=2)' if rounds else 'uniform'} + {SMALL}")
    trainer.train()
    latest: dict[int, Any] = {}
    joined = masked = tokens = 0
    for step, joining, generated, batch in steps:
        assert int(batch["num_items_in_batch"]) == int(loss_mask(batch).sum())
        rows = [row_of(batch, row) for row in range(16)]
        for recall in joining.placed.recalls if joining else ():
            want = latest[recall.prompt]
            assert want in rows
            joined, masked = joined + 1, masked + (0 in want[2])
            tokens += sum(want[2])
        outcome = step.outcome
        for row in np.flatnonzero(outcome.correct_R & (outcome.tokens_R > 0)):
            latest[int(outcome.prompt_R[row])] = generated[row]
    assert joined > 3 and masked > 1, "rows with what a tool said were recalled"
    assert trainer.controller.ledger.recalled == joined
    assert trainer.controller.ledger.recalled_tokens == tokens
    store = trainer._gdro_memory.store
    for prompt in range(8):
        if prompt in store:
            assert stored(store[prompt]) == latest[prompt]


@pytest.mark.parametrize(
    "options",
    [
        {"num_iterations": 2},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "loss_type": "dr_grpo"},
        {"pad_to_multiple_of": 8, "mask_truncated_completions": True},
        {"off_policy_mask_threshold": 0.1, "num_iterations": 2},
        {"use_vllm": True, "vllm_mode": "server"},
        {"use_vllm": True, "vllm_mode": "colocate", "vllm_importance_sampling_mode": "token_mask"},
    ],
)
@pytest.mark.parametrize(
    "kind",
    ["rollout function", pytest.param("tools", marks=[WITH_TOOLS, pytest.mark.weekly])],
)
def test_memory_and_turns_with_features_of_the_trainer(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seam, "VLLMGeneration", FakeVLLM)
    trainer, steps = spied(kind, max_steps=8, **options)
    before = tiny.weights(trainer)
    trainer.train()
    assert trainer.controller.ledger.recalled > 0
    assert all(int(b["num_items_in_batch"]) == int(loss_mask(b).sum()) for *_, b in steps)
    assert torch.isfinite(tiny.weights(trainer)).all()
    assert not torch.equal(before, tiny.weights(trainer))


def test_the_least_likely_are_ranked_by_their_own_tokens() -> None:
    """A tool may say what no model would."""
    memory = "memory(replay=False, anchors=2, candidates=8, anchor_rate=0.0, anchor_pick=least)"
    trainer, _ = spied("rollout function", f"uniform + {memory}", max_steps=8)
    place = trainer._gdro_memory._least_likely
    asked: list[int] = []

    def by_hand(prompt_M: Any) -> Any:
        order, totals = place(prompt_M), []
        for rollout in [trainer._gdro_memory.store[p] for p in prompt_M.tolist()]:
            ids = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
            with torch.no_grad():
                logp = trainer.model(ids).logits.log_softmax(-1)[0]
            start = len(rollout.prompt_ids)
            each = [float(logp[start - 1 + t, token]) for t, token in enumerate(rollout.completion_ids)]
            totals.append(sum(np.array(each)[rollout.own]))
        assert np.all(np.diff(np.array(totals)[order]) > -1e-4)
        asked.append(len(totals))
        return order

    trainer._gdro_memory._least_likely = by_hand
    trainer.train()
    assert max(asked) > 3


def test_a_masked_rollout_stays_masked_in_a_trainer_without_tools(tmp_path: Any) -> None:
    """Its store comes from a run that had a rollout function; the fresh rows count whole."""
    given = {"reward_funcs": [tiny.length], "correct": ("length", 1.0), "output_dir": str(tmp_path)}
    spied("rollout function", max_steps=6, save_strategy="steps", save_steps=6, **given)[0].train()
    trainer, steps = spied("rollout function", rollout_func=None, max_steps=8, **given)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    masked = 0
    for _, joining, generated, batch in steps:
        rollouts = joining.rollouts if joining else ()
        wanted = [stored(r) for r in rollouts]
        masked += sum(0 in own for *_, own in wanted)
        rows = [row_of(batch, row) for row in range(16)]
        assert sorted(rows) == sorted([r for r in rows if r in generated] + wanted)
        assert all(0 not in own for *_, own in generated)
        assert int(batch["num_items_in_batch"]) == int(loss_mask(batch).sum())
    assert masked, "no masked rollout was recalled"


@WITH_TOOLS
def test_rollouts_in_which_a_tool_had_a_part_may_be_left_out() -> None:
    """A rollout without a call is stored even where a later one of its prompt has one."""
    trainer, steps = spied("tools", memory_episodes=False, model=agents.model("sum", 25))
    trainer.train()
    latest: dict[int, Any] = {}
    left_out = 0
    for step, _, generated, _ in steps:
        for row in np.flatnonzero(step.outcome.correct_R):
            if 0 in generated[row][2]:
                left_out += 1
            else:
                latest[int(step.outcome.prompt_R[row])] = generated[row]
    store = trainer._gdro_memory.store
    assert {p: stored(store[p]) for p in range(8) if p in store} == latest
    assert latest and left_out


@pytest.mark.parametrize("kind", [ALL[0], ALL[1]])
def test_of_environments_and_rollout_functions_nothing_is_stored_then(kind: str) -> None:
    used = "rollout_func" if kind == "rollout function" else "environment_factory"
    with pytest.warns(UserWarning, match=f"memory_episodes=False with {used}: .*stays empty"):
        trainer, _ = spied(kind, memory_episodes=False, max_steps=3)
    trainer.train()
    assert trainer.controller.ledger.closed == 3 and not len(trainer._gdro_memory.store)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="memory_episodes")
        spied(kind, max_steps=1)
        make(kind, strategy="uniform", memory_episodes=False)


@WITH_TOOLS
def test_a_check_leaves_out_the_episodes_of_one_environment() -> None:
    """As docs/memory.md says of runs in which only some environments are random."""

    def repeatable(completions: list[Any], environment: list[str], **_: Any) -> list[float]:
        return [float(name == "guess") for name in environment]

    trainer, steps = spied(
        "two environments",
        reward_funcs=[repeatable],
        reward_weights=[0.0],
        process="repeatable",
        correct=["Guess", ("Parity", 0.4)],
    )
    trainer.train()
    store, names = trainer._gdro_memory.store, trainer.train_dataset["environment"]
    assert {names[p] for p in range(8) if p in store} == {"guess"}
    right = {int(p) for step, *_ in steps for p in step.outcome.prompt_R[step.outcome.correct_R]}
    assert {names[p] for p in right} == {"guess", "parity"}
