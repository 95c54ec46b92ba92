"""Memory in real trainings: what joins, what it replaces, and that nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from peft import LoraConfig
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from gdro import StrategyError
from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROTrainer
from gdro.integrations.trl.losses import LossCollector

SMALL = "memory(anchors=3, candidates=6, anchor_rate=0.1, anchor_advantage=0.5)"


def rare(completions, answer, **_):
    """Right when the text holds one digit of the prompt's: about a fifth of random rollouts."""
    return [float(str(int(a) % 4) in tiny._text(c)) for c, a in zip(completions, answer, strict=True)]


def make(strategy, options=None, rewards=rare, num=8, memory_bytes=2**20, **kw):
    extra = {k: kw.pop(k) for k in ("prompt_equal", "peft_config", "apply", "correct") if k in kw}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=rewards,
        args=tiny.config(**kw),
        train_dataset=tiny.dataset(num),
        processing_class=tiny.tokenizer(),
        strategy=strategy,
        strategy_options=options,
        id_column="id",
        memory_bytes=memory_bytes,
        **extra,
    )


def spied(strategy, **kw):
    """A trainer that keeps each step's batch, what was generated, and what joined."""
    trainer = make(strategy, **kw)
    generate, recall = trainer._generate_and_score_completions, trainer._gdro_memory.recall
    batches, seen = [], []

    def keep_batch(inputs):
        batches.append(generate(inputs))
        return batches[-1]

    def keep_recall(step, fresh, chosen_R):
        generated = {k: v.clone() for k, v in step.batches[0].items() if torch.is_tensor(v)}
        scored, joining = recall(step, fresh, chosen_R)
        seen.append((step, fresh, joining, generated))
        return scored, joining

    trainer._generate_and_score_completions = keep_batch
    trainer._gdro_memory.recall = keep_recall
    return trainer, batches, seen


def tokens(batch, row):
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    answer = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
    return tuple(prompt.tolist()), tuple(answer.tolist())


def group_advantage(rewards, reward):
    return (reward - np.mean(rewards)) / (np.std(rewards, ddof=1) + 1e-4)


@pytest.mark.parametrize("weight", [1.0, 0.25])
@pytest.mark.parametrize("options", [{}, {"num_iterations": 2}, {"loss_type": "dr_grpo"}])
def test_rows_by_hand(options, weight):
    """Latest successes join; rows without gradient go, the shortest first; all else stays."""
    memory = SMALL.replace("(", f"(replay_weight={weight}, ")
    trainer, batches, seen = spied(f"uniform + {memory}", max_steps=16, **options)
    trainer.train()
    latest, replays, anchors = {}, 0, 0
    for batch, (step, fresh, joining, generated) in zip(batches, seen, strict=True):
        assert len(batch["advantages"]) == 16
        assert int(batch["num_items_in_batch"]) == int(batch["completion_mask"].sum())
        outcome = step.outcome
        rows = [] if joining is None else joining.placed.row_M.tolist()
        replayed = set()
        for recall, row in zip(joining.placed.recalls if joining else (), rows, strict=True):
            assert tokens(batch, row) == latest[recall.prompt]
            if recall.kind == "anchor":
                anchors += 1
                assert batch["advantages"][row] == 0.5
                continue
            replays += 1
            replayed.add(recall.prompt)
            group = outcome.reward_R[outcome.prompt_R == recall.prompt]
            assert not group.any()
            want = weight * group_advantage([*group, 1.0], 1.0)
            assert batch["advantages"][row].item() == pytest.approx(want, abs=1e-5)
        dead = (fresh.advantage_R.abs() < 1e-6).numpy() & ~np.isin(outcome.prompt_R, list(replayed))
        assert dead[rows].all()
        left = sorted(outcome.tokens_R[dead])[: len(rows)]
        assert sorted(outcome.tokens_R[rows]) == left
        for row in set(range(16)) - set(rows):
            assert tokens(batch, row) == tokens(generated, row)
            prompt, reward = outcome.prompt_R[row], outcome.reward_R[row]
            group = outcome.reward_R[outcome.prompt_R == prompt]
            joined, factor = ([*group, 1.0], weight) if prompt in replayed else (group, 1.0)
            want = factor * group_advantage(joined, reward)
            assert batch["advantages"][row].item() == pytest.approx(want, abs=1e-5)
        for row in np.flatnonzero(outcome.correct_R):
            latest[int(outcome.prompt_R[row])] = tokens(generated, row)
    assert replays > 2
    assert anchors > 2
    ledger = trainer.controller.ledger
    assert ledger.recalled == replays + anchors
    assert ledger.rollouts == ledger.planned == 16 * len(batches)


@pytest.mark.parametrize("scale_rewards", ["group", "batch", "none"])
@pytest.mark.parametrize("prompt_equal", [False, True])
def test_a_replay_and_its_group_share_the_factor_by_hand(scale_rewards, prompt_equal):
    """Unequal groups, weights of another part, and each way to scale: every advantage of every step."""
    trainer, batches, seen = spied(
        f"rollout-gdro + prompt-gdro + {SMALL}",
        max_steps=12,
        scale_rewards=scale_rewards,
        prompt_equal=prompt_equal,
    )
    trainer.train()
    replayed = 0
    for batch, (step, _, joining, _) in zip(batches, seen, strict=True):
        outcome, recalls = step.outcome, joining.placed.recalls if joining else ()
        replays = [r for r in recalls if r.kind == "replay"]
        replayed += len(replays)
        prompt = np.array([*outcome.prompt_R, *(r.prompt for r in replays)])
        reward = np.array([*outcome.reward_R, *[1.0] * len(replays)])
        factor = {r.prompt: 0.25 for r in replays}
        own = dict(zip(outcome.prompt_R.tolist(), step.weights.weight_R.tolist(), strict=True))
        size = {p: int((prompt == p).sum()) for p in own}
        mean_size = np.mean(list(size.values()))
        want = []
        for p, value in zip(prompt.tolist(), reward, strict=True):
            group = reward[prompt == p]
            scale = {"group": group.std(ddof=1) + 1e-4, "batch": reward.std(ddof=1) + 1e-4, "none": 1.0}
            equal = mean_size / size[p] if prompt_equal else 1.0
            advantage = (value - group.mean()) / scale[scale_rewards]
            want.append(advantage * own[p] * factor.get(p, 1.0) * equal)
        rows = joining.placed.row_M.tolist() if joining else []
        joined = [*want[len(outcome.prompt_R) :], *[0.5] * (len(recalls) - len(replays))]
        expected = want[: len(outcome.prompt_R)]
        for row, value in zip(rows, joined, strict=True):
            expected[row] = value
        assert batch["advantages"].tolist() == pytest.approx(expected, abs=2e-4)
    assert replayed > 1


def test_anchors_are_the_least_likely_candidates():
    memory = "memory(replay=False, anchors=2, candidates=8, anchor_rate=0.0, anchor_pick=least)"
    trainer, _, seen = spied(f"uniform + {memory}", max_steps=10, learning_rate=0.1)
    place = trainer._gdro_memory._least_likely
    asked = []

    def by_hand(prompt_M):
        order = place(prompt_M)
        rollouts = [trainer._gdro_memory.store[p] for p in prompt_M.tolist()]
        totals = []
        for r in rollouts:
            ids = torch.tensor([[*r.prompt_ids, *r.completion_ids]])
            with torch.no_grad():
                logp = trainer.model(ids).logits.log_softmax(-1)[0]
            start = len(r.prompt_ids)
            picked = [logp[start - 1 + t, token] for t, token in enumerate(r.completion_ids)]
            totals.append(float(sum(picked)))
        assert np.all(np.diff(np.array(totals)[order]) > -1e-4)
        asked.append(len(rollouts))
        return order

    trainer._gdro_memory._least_likely = by_hand
    trainer.train()
    assert max(asked) > 3
    assert all(j is None or len(j.rollouts) <= 2 for _, _, j, _ in seen)


def test_random_anchors_take_no_forward_pass():
    memory = "memory(replay=False, anchors=2, candidates=8, anchor_rate=0.0)"
    trainer, _, seen = spied(f"uniform + {memory}", max_steps=10)

    def never(prompt_M):
        raise AssertionError("random anchors were ranked")

    trainer._gdro_memory._least_likely = never
    trainer._gdro_memory._logps = never
    trainer.train()
    joined = [joining for _, _, joining, _ in seen if joining is not None]
    assert joined
    for step, _, joining, _ in seen:
        if joining is not None:
            asked = [r.prompt for r in step.weights.recall]
            assert [r.prompt for r in joining.placed.recalls] == asked[: len(joining.rollouts)]


@pytest.mark.parametrize("options", [{}, {"scale_rewards": "batch"}, {"prompt_equal": True}])
def test_step_without_recalls_is_bit_identical(options):
    """Nothing recalled: the same weights as without memory."""
    silent = make("uniform + memory(replay=False, anchors=0)", max_steps=6, **options)
    silent.train()
    assert len(silent._gdro_memory.store) > 2
    plain = make("uniform", max_steps=6, **options)
    plain.train()
    assert torch.equal(tiny.weights(silent), tiny.weights(plain))
    moved = make(f"uniform + {SMALL}", max_steps=6, **options)
    moved.train()
    assert not torch.equal(tiny.weights(moved), tiny.weights(plain))


@pytest.mark.parametrize(
    "options",
    [
        *({"loss_type": t} for t in ("grpo", "bnpo", "dapo", "dr_grpo", "cispo", "sapo")),
        {"num_iterations": 2},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8},
        {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 8, "steps_per_generation": 2},
        {"importance_sampling_level": "sequence", "num_iterations": 2},
        {"peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"])},
        {"scale_rewards": "batch", "prompt_equal": True},
        {"mask_truncated_completions": True},
    ],
    # Names, and values of simple options only: a configuration's text holds sets, whose order differs
    # between the processes that collect the tests.
    ids=lambda given: "-".join(f"{k}={v}" if isinstance(v, str | int) else k for k, v in given.items()),
)
def test_memory_with_features_of_the_trainer(options):
    trainer = make(f"rollout-gdro + prompt-gdro + {SMALL}", max_steps=8, **options)
    before = tiny.weights(trainer)
    trainer.train()
    assert trainer.controller.ledger.recalled > 0
    assert torch.isfinite(tiny.weights(trainer)).all()
    assert not torch.equal(before, tiny.weights(trainer))


@pytest.mark.parametrize(
    "strategy",
    [
        "dapo(max_num_gen_batches=1)",
        "reinforce-ada(rounds=2)",
        "prompt-gdro(signal=surrogate)",
        "failure-sampling",
    ],
)
def test_memory_composes(strategy):
    trainer = make(f"{strategy} + {SMALL}", max_steps=10)
    trainer.train()
    assert trainer.controller.open_tickets == []
    assert trainer.controller.ledger.abandoned == 0
    assert trainer.controller.ledger.recalled > 0


def test_losses_of_replaced_rows_are_their_own():
    """A strategy that learns from losses sees fresh rollouts only."""
    trainer = make(f"prompt-gdro(signal=surrogate) + {SMALL}", max_steps=10)
    observe, seen = trainer.controller.observe, []

    def keep(outcome, loss_R, **kw):
        seen.append((outcome, loss_R))
        observe(outcome, loss_R, **kw)

    trainer.controller.observe = keep
    trainer.train()
    assert trainer.controller.ledger.recalled > 0
    for outcome, loss_R in seen:
        for prompt in np.unique(outcome.prompt_R):
            group = outcome.prompt_R == prompt
            if np.ptp(outcome.reward_R[group]) == 0:
                assert np.abs(loss_R[group]).max() < 1e-6


def test_losses_of_replaced_rows_count_once_over_ranks():
    """Each rank tells of its own rows alone: what ranks tell is summed."""
    base_R = torch.tensor([0.5, -0.5, 0.25, -0.25])
    ranks = [LossCollector(base_R, np.arange(4)[rows]) for rows in (slice(0, 2), slice(2, 4))]
    for rank in ranks:
        rank.replaced(np.array([1, 2]))
    losses = torch.stack([rank.loss_R for rank in ranks])
    assert losses.isnan().sum(0).tolist() == [2, 1, 1, 2]
    assert losses.nansum(0).tolist() == [0.0, 0.5, -0.25, 0.0]


@pytest.mark.parametrize("pick", ["random", "least"])
def test_shadow_mode_recalls_nothing(pick):
    memory = SMALL.replace("(", f"(anchor_pick={pick}, ")
    shadow = make(f"uniform + {memory}", max_steps=6, apply=False)

    def never(rows):
        raise AssertionError("a forward pass over remembered rows")

    shadow._gdro_memory._logps = never
    shadow.train()
    plain = make("uniform", max_steps=6)
    plain.train()
    assert shadow.controller.ledger.recalled == 0
    assert torch.equal(tiny.weights(shadow), tiny.weights(plain))


def test_several_reward_functions():
    rewards = [rare, tiny.length]
    trainer, _, seen = spied(f"uniform + {SMALL}", rewards=rewards, correct="rare", max_steps=8)
    trainer.train()
    store = trainer._gdro_memory.store
    stored = [store[p] for p in range(8) if p in store]
    assert all(s.rewards_K[0] == 1 and s.rewards_K.shape == (2,) for s in stored)
    assert len(stored) > 2
    assert len(seen) == 8


def test_refusals():
    # What is left of the default without its memory; selecting hard prompts without one forgets others.
    with pytest.raises(
        UnsupportedError, match=r"beta.*leave memory out, e\.g\. strategy='rollout-gdro'"
    ):
        make(f"uniform + {SMALL}", beta=0.1, peft_config=LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(UnsupportedError, match="sum_then_normalize"):
        make(f"uniform + {SMALL}", multi_objective_aggregation="normalize_then_sum")
    with pytest.raises(StrategyError, match="memory_bytes"):
        make(f"uniform + {SMALL}", memory_bytes=0)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"entropy_coef": 0.01}, "entropy_coef=0.0"),
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy=False"),
    ],
)
def test_a_bonus_that_gives_every_row_a_gradient_is_refused(options, fix):
    with pytest.raises(UnsupportedError, match=f"memory cannot be combined.*bonus.*set {fix}"):
        make(f"uniform + {SMALL}", **options)
    make("uniform", max_steps=1, **options).train()


def test_the_load_balancing_loss_of_experts_is_refused():
    def experts(**options):
        config = Qwen3MoeConfig(
            vocab_size=len(tiny.ALPHABET),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            moe_intermediate_size=16,
            num_experts=2,
            num_experts_per_tok=1,
            router_aux_loss_coef=0.01,
            pad_token_id=0,
        )
        return GDROTrainer(
            model=Qwen3MoeForCausalLM(config),
            reward_funcs=rare,
            args=tiny.config(**options),
            train_dataset=tiny.dataset(8),
            processing_class=tiny.tokenizer(),
            strategy="uniform + memory",
        )

    with pytest.raises(UnsupportedError, match=r"mixture of experts.*set router_aux_loss_coef=0\.0"):
        experts(router_aux_loss_coef=0.01)
    experts(router_aux_loss_coef=0.0)


def test_metrics_and_log():
    trainer = make(f"uniform + {SMALL}", max_steps=8)
    trainer.train()
    last = [h for h in trainer.state.log_history if "gdro/memory_rollouts" in h][-1]
    assert last["gdro/memory_rollouts"] > 0
    assert last["gdro/memory_bytes"] <= 2**20
    assert 0 < max(h.get("gdro/memory_row_share", 0) for h in trainer.state.log_history) <= 1
    assert {"gdro/memory_age", "gdro/memory_length", "entropy"} <= last.keys()
