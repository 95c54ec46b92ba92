"""A memory in verl without Ray: rows of the queue, places, factors, checkpoints, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from configs import config
from datasets import Dataset
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from gdro import Controller, Problem, Request, default_strategy, make_strategy
from gdro.errors import CheckpointError, StrategyError, UnsupportedError
from gdro.integrations.verl import GDROTrainer, checkpoints, queue
from gdro.integrations.verl.memory import VerlMemory, shares
from gdro.integrations.verl.options import check_config, check_media, options_of
from gdro.integrations.verl.recalled import columns_of, dataset_fields, stored, tag_of
from gdro.integrations.verl.step import RowScores, VerlStep, fix, scale
from gdro.memory.placing import Placed
from gdro.memory.store import STORE_FILE, RolloutStore
from gdro.types import Recall

REFUSED = {
    "actor_rollout_ref.actor.entropy_coeff=0.01": "entropy_coeff=0.01.*set it to 0",
    "actor_rollout_ref.actor.use_kl_loss=true": "use_kl_loss=true.*set it to false",
    "algorithm.use_kl_in_reward=true": "use_kl_in_reward=true.*set it to false",
    "algorithm.adv_estimator=reinforce_plus_plus_baseline": "whitening.*take grpo",
    "actor_rollout_ref.actor.policy_loss.loss_mode=kl_cov": "loss_mode=kl_cov.*take vanilla",
    "actor_rollout_ref.actor.policy_loss.loss_mode=dro": "loss_mode=dro.*take vanilla",
    "actor_rollout_ref.model.mtp.enable_train=true": "mtp.enable_train",
    "++actor_rollout_ref.actor.megatron.override_transformer_config.moe_aux_loss_coeff=0.001": (
        "moe_aux_loss_coeff=0.001.*set it to 0"
    ),
    "++actor_rollout_ref.actor.megatron.override_transformer_config.moe_z_loss_coeff=0.001": (
        "moe_z_loss_coeff=0.001.*set it to 0"
    ),
    "++actor_rollout_ref.actor.megatron.override_transformer_config.moe_router_load_balancing_type="
    "aux_loss": "load_balancing_type=aux_loss.*set it to none",
    "critic.enable=true": "critic.enable=true.*leave the critic out",
    "algorithm.adv_estimator=gpg": "number of successes.*take grpo",
    "distillation.enabled=true": "distillation.enabled=true.*set it to false",
    "actor_rollout_ref.rollout.enable_rollout_routing_replay=true": "router replay",
    "++actor_rollout_ref.actor.megatron.router_replay.mode=R2": "router replay",
    "++actor_rollout_ref.actor.veomni.router_replay.mode=R2": "router replay",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_gives_every_row_a_gradient_or_needs_more_than_tokens_is_refused(override: str) -> None:
    words = rf"\+gdro.strategy=gdro \(the default\), which has a memory, .*{REFUSED[override]}"
    with pytest.raises(UnsupportedError, match=f"{words}.*strategy without a memory"):
        GDROTrainer(config(override))
    check_config(config(override, "+gdro.strategy=rollout-gdro"), make_strategy("rollout-gdro"))


def test_the_default_is_the_package_s_and_a_memory_is_taken() -> None:
    strategy, _ = options_of(config()).make(4)
    assert strategy == default_strategy(4) and strategy.remembers
    check_config(config(), strategy)
    with pytest.raises(UnsupportedError, match="only leave `memory` out"):
        GDROTrainer(config("algorithm.use_kl_in_reward=true", "+gdro.strategy='mopps + memory'"))
    with pytest.raises(StrategyError, match="memory_bytes is 0; allowed: 1 or more"):
        GDROTrainer(config("+gdro.memory_bytes=0"))


def test_images_are_refused_by_column_and_by_row() -> None:
    data = config().data
    with pytest.raises(UnsupportedError, match=r"column 'images'.*tokens alone"):
        check_media(data, ["prompt", "images"])
    check_media(data, ["prompt", "extra_info"])
    with pytest.raises(UnsupportedError, match="has pixel_values"):
        rows_of(fields(multi_modal_inputs={"pixel_values": torch.ones(2)}), SHORT)
    rows_of(fields(multi_modal_inputs={}), SHORT)


def fields(**changes: Any) -> dict[str, Any]:
    """A fresh row of the queue: a prompt of two tokens, an answer of one."""
    return {
        "prompts": torch.tensor([5, 6]),
        "responses": torch.tensor([7]),
        "input_ids": torch.tensor([5, 6, 7]),
        "position_ids": torch.arange(3),
        "response_mask": torch.tensor([1]),
        "loss_mask": torch.tensor([1]),
        "rm_scores": torch.tensor([0.0]),
        "rollout_log_probs": torch.tensor([-0.5]),
        "num_turns": 2,
        "uid": "u",
        "agent_name": "single",
        "extra_fields": {"reward_extra_info": {"acc": 0.0}, "tool": 1},
        **changes,
    }


SHORT = stored(torch.tensor([1]), torch.tensor([4, 5]), torch.tensor([1, 1]), 1.0, 3)


def rows_of(fresh: dict[str, Any], *rollouts: Any, **own: Any) -> list[dict[str, Any]]:
    """Recalled rows as the queue hands them out, one after another."""
    table = queue.table(columns_of(fresh, rollouts, [own] * len(rollouts)))
    return [{name: table[name][row] for name in fresh} for row in range(len(rollouts))]


def test_a_row_comes_back_as_it_was_stored() -> None:
    """Two turns with two tokens of a tool between them; a model with two position axes."""
    mask = torch.tensor([1, 1, 0, 0, 1])
    rollout = stored(torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6, 7, 8]), mask, 0.75, 9)
    assert rollout.nbytes == 4 * (3 + 5 + 1) + 5
    fresh = fields(position_ids=torch.arange(3).expand(2, -1))
    (row,) = rows_of(fresh, rollout, uid="v", unknown=1)
    assert row.keys() == fresh.keys(), "the queue hands out only what all rows have"
    for name, value in fresh.items():
        assert type(row[name]) is type(value)
        if isinstance(value, torch.Tensor):
            assert row[name].dtype == value.dtype and row[name].shape[:-1] == value.shape[:-1]
    assert row["input_ids"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert row["prompts"].tolist() == [1, 2, 3] and row["responses"].tolist() == [4, 5, 6, 7, 8]
    assert row["position_ids"].tolist() == [list(range(8))] * 2
    assert row["response_mask"].tolist() == row["loss_mask"].tolist() == mask.tolist()
    assert row["rm_scores"].tolist() == [0.0] * 4 + [0.75] and row["num_turns"] == 4
    assert (row["uid"], row["agent_name"]) == ("v", "single")
    assert row["extra_fields"] == {"reward_extra_info": {}, "tool": 1}
    assert fresh["extra_fields"]["reward_extra_info"] == {"acc": 0.0}
    tag = tag_of(rollout, {"status": "success", "seq_len": 3, "min_global_steps": 20})
    assert (tag["prompt_len"], tag["response_len"], tag["seq_len"]) == (3, 5, 8)
    assert tag["min_global_steps"] == tag["max_global_steps"] == 8 and tag["status"] == "success"


def test_an_answer_without_tools_needs_no_mask() -> None:
    assert SHORT.loss_mask is None
    long = stored(torch.tensor([1]), torch.arange(9), torch.ones(9), 0.5, 3)
    rows = rows_of(fields(), SHORT, long, SHORT)
    assert [row["num_turns"] for row in rows] == [2, 2, 2]
    assert [row["rm_scores"].tolist()[-1] for row in rows] == [1.0, 0.5, 1.0]
    assert [row["rm_scores"].sum() for row in rows] == [1.0, 0.5, 1.0], "rows share no rewards"
    assert [len(row["response_mask"]) for row in rows] == [2, 9, 2]
    assert [row["position_ids"].tolist() for row in rows] == [[0, 1, 2], list(range(10)), [0, 1, 2]]


@pytest.mark.parametrize("axes", [(), (3,)])
@pytest.mark.parametrize("sizes", [[(2, 5), (1, 3), (4, 1)], [(2, 3), (2, 3)], [(2, 1)]])
def test_fields_in_one_piece_are_what_verl_makes_of_rows(
    axes: tuple[int, ...], sizes: list[tuple[int, int]]
) -> None:
    """Types, layouts and values, of answers with a tool and of those without, in one batch or not."""
    fresh = fields(
        position_ids=torch.arange(3).expand(*axes, -1),
        attention_mask=torch.ones(3, dtype=torch.int64),
        multi_modal_inputs={},
    )
    for tools in (False, True):
        rollouts, rows = [], []
        for number, (prompt, answer) in enumerate(sizes):
            ids = torch.arange(10, 10 + prompt), torch.arange(20, 20 + answer)
            mask = torch.ones(answer, dtype=torch.int64)
            mask[1:-1] = int(not (tools and number == 0))
            rollouts.append(stored(*ids, mask, number / 4, 1))
            reward = torch.zeros(answer)
            reward[-1] = number / 4
            whole = torch.cat(ids)
            own = {
                "prompts": ids[0],
                "responses": ids[1],
                "input_ids": whole,
                "attention_mask": torch.ones_like(whole),
                "position_ids": torch.arange(len(whole)).expand(*axes, -1),
                "response_mask": mask,
                "loss_mask": mask,
                "rm_scores": reward,
                "rollout_log_probs": torch.zeros(answer),
                "num_turns": 2 if mask.all() else 4,
                "uid": str(number),
                "extra_fields": {"reward_extra_info": {}, "tool": 1},
            }
            rows.append(fresh | own)
        wanted = list_of_dict_to_tensordict(rows)
        owns = [{"uid": str(number)} for number in range(len(sizes))]
        found = queue.table(columns_of(fresh, rollouts, owns))
        assert set(found.keys()) == set(wanted.keys()) and found.batch_size == wanted.batch_size
        for name in fresh:
            if not isinstance(wanted.get(name), torch.Tensor):
                assert found[name] == wanted[name], name
                continue
            assert (
                found[name].is_nested == wanted[name].is_nested
                and found[name].dtype == wanted[name].dtype
            )
            for mine, theirs in zip(found[name].unbind(), wanted[name].unbind(), strict=True):
                assert torch.equal(mine, theirs), name


def test_the_dataset_s_fields_are_the_recalled_prompt_s() -> None:
    table = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": str(i)}], "extra_info": {"index": i}, "x": i}
            for i in (7, 8, 9)
        ]
    )
    names = ("raw_prompt", "index", "extra_info", "uid")
    rows = dataset_fields(table, [2, 0], names, "prompt")
    assert [row["index"] for row in rows] == [9, 7] and "x" not in rows[0]
    assert rows[0]["raw_prompt"] == [{"role": "user", "content": "9"}]
    assert dataset_fields(table, [], names, "prompt") == []


def opened(rewards: dict[str, list[float]], right: float = 0.5) -> tuple[VerlStep, Controller]:
    """A weighed step of prompts 0, 1, ... with uids a, b, ..., whose answers have these rewards.

    The answers of a group get shorter.
    """
    controller = Controller(make_strategy("uniform"), Problem([str(i) for i in range(9)]))
    num = sum(map(len, rewards.values()))
    step = VerlStep(controller.plan(Request(len(rewards), num, np.arange(len(rewards)))))
    step.submit(list(rewards), list(range(len(rewards))), [len(r) for r in rewards.values()])
    keys = [f"{uid}_{s}_0" for uid, given in rewards.items() for s in range(len(given))]
    reward_B = np.concatenate(list(rewards.values()))
    tokens_B = np.concatenate([np.arange(len(given), 0, -1) for given in rewards.values()])
    scores = RowScores(reward_B, reward_B > right, tokens_B, np.ones(num, bool))
    step.weigh(controller.weigh(step.read(keys, scores)))
    return step, controller


def held(*prompts: int) -> dict[int, tuple[object]]:
    """A store with one rollout of each of these prompts."""
    return {prompt: (object(),) for prompt in prompts}


def test_replays_join_their_group_anchors_stand_alone_and_the_rest_is_zero() -> None:
    """Group a is all wrong and gets a replay at a quarter, b is all right and makes room, c is mixed."""
    step, _ = opened({"a": [0, 0, 0, 0], "b": [1, 1, 1, 1], "c": [1, 0, 0, 0]})
    recalls = (Recall(0, "replay", weight=0.25), Recall(8, "anchor", 0.7), Recall(7, "anchor", 0.7))
    step._weights = SimpleNamespace(**vars(step._weights) | {"recall": recalls, "most_anchors": 9})
    step._weights = type(opened({"a": [0, 1]})[0]._weights)(**vars(step._weights))
    keys = list(step._keys)
    placed = step.place(keys, held(0, 7, 8), lambda p: range(len(p)))
    assert placed is not None and [r.prompt for r in placed.recalls] == [0, 8, 7]
    old = step.keys_of(placed.row_M)
    assert old == ["b_3_0", "b_2_0", "b_1_0"], "the shortest without gradient, none of a's or c's"
    new = step.join(placed)
    assert new[0] == "a_4_0" and step.anchors == dict.fromkeys(new[1:], 0.7)
    assert step.recalled == set(new)
    left = [key for key in keys if key not in old]
    assert len(left) + len(new) == len(keys)
    advantages = torch.zeros(len(keys), 3)
    mask = torch.ones(len(keys), 3)
    mask[-1, 1] = 0
    rewards = {"a": 0.0, "b": 1.0}
    score = [rewards.get(key[0], float(key == "c_0_0")) for key in left] + [1.0, 1.0, 1.0]
    uids = [key.rsplit("_", 2)[0] for key in [*left, *new]]
    token_rewards = torch.zeros(len(keys), 3)
    token_rewards[:, -1] = torch.tensor(score)
    advantages, _ = get_adv_estimator_fn("grpo")(
        token_level_rewards=token_rewards, response_mask=mask, index=np.array(uids, dtype=object)
    )
    scale(advantages, step.factors([*left, *new]))
    fix(advantages, mask, [*left, *new], step.anchors)
    found = dict(zip([*left, *new], advantages[:, 0].tolist(), strict=True))
    sd = np.std([0, 0, 0, 0, 1], ddof=1) + 1e-6
    assert [found[f"a_{s}_0"] for s in range(4)] == pytest.approx([0.25 * -0.2 / sd] * 4, abs=1e-5)
    assert found["a_4_0"] == pytest.approx(0.25 * 0.8 / sd, abs=1e-5)
    assert found["b_0_0"] == 0.0, "verl takes the reward of a group of one as its advantage"
    assert [found[f"c_{s}_0"] for s in range(4)] == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-4)
    assert advantages[-1].tolist() == pytest.approx([0.7, 0.0, 0.7])
    assert step.counts([*left, *new])["padding"] == 0


def test_rows_of_a_mixed_group_are_never_replaced() -> None:
    """Also not those whose weight is zero: verl would compare the others with fewer rows."""
    step, _ = opened({"a": [1, 0, 0, 0], "b": [0.5, 0.5, 0.5, 0.5]})
    assert step._factor_B is not None
    step._factor_B[1] = 0.0
    weights = step._weights
    assert weights is not None
    step._weights = type(weights)(
        weights.weight_R,
        weights.keep_R,
        recall=tuple(Recall(p, "anchor", 1.0) for p in range(2, 9)),
        most_anchors=7,
    )
    placed = step.place(step._keys, held(*range(9)), lambda p: range(len(p)))
    assert placed is not None and len(placed.recalls) == 4
    assert all(key.startswith("b") for key in step.keys_of(placed.row_M))


def test_a_group_of_which_one_rollout_arrived_gets_no_replay() -> None:
    step, _ = opened({"a": [0, 0], "b": [1, 1]})
    assert step._weights is not None and step._factor_B is not None
    step._factor_B[:2] = 0.0
    weights = type(step._weights)(
        step._weights.weight_R, step._weights.keep_R, recall=(Recall(0, "replay"),)
    )
    step._weights = weights
    assert step.place(step._keys, held(0), lambda p: []) is None


class Queue:
    """TransferQueue in a dictionary."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        for name in ("tensors", "objects", "fields_of", "insert", "clear"):
            monkeypatch.setattr(queue, name, getattr(self, name))

    def tensors(self, keys: list[str], name: str) -> list[Any]:
        return [self.rows[key][name] for key in keys]

    objects = tensors

    def fields_of(self, key: str) -> dict[str, Any]:
        return dict(self.rows[key])

    def insert(self, keys: list[str], columns: dict[str, Any], tags: Any) -> None:
        rows = queue.table(columns)
        for place, key in enumerate(keys):
            self.rows[key] = {name: rows[name][place] for name in columns}

    def clear(self, keys: list[str]) -> None:
        for key in keys:
            del self.rows[key]


class Actor:
    """Log-probabilities of two workers: minus the token at each place, shifted as verl does."""

    def __init__(self, rows: Queue) -> None:
        self._queue, self._dispatch_info, self.scored = rows, {}, []

    def _query_dispatch_info(self, role: str) -> list[int]:
        return [0, 1]

    def compute_log_prob(self, meta: Any) -> None:
        self.scored.append(list(meta.keys))
        assert len(meta.keys) % 4 == 0, "verl shares rows out evenly, in micro-batches of two"
        assert meta.extra_info == {
            "calculate_entropy": False,
            "compute_loss": False,
            "temperature": 1.0,
            "micro_batch_size_per_gpu": 2,
        }
        for key in meta.keys:
            ids = self._queue.rows[key]["input_ids"]
            self._queue.rows[key]["log_probs"] = -torch.cat([ids[1:], ids[:1]]).float()


def made(monkeypatch: pytest.MonkeyPatch, num: int = 9) -> tuple[VerlMemory, Queue, Any]:
    """A memory over a queue in a dictionary."""
    rows = Queue(monkeypatch)
    table = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": str(i)}], "extra_info": {"index": i}}
            for i in range(num)
        ]
    )
    trainer = SimpleNamespace(
        train_dataset=SimpleNamespace(dataframe=table, __len__=None),
        config=config("actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2"),
        global_steps=5,
        actor_rollout_wg=Actor(rows),
    )
    monkeypatch.setattr("gdro.integrations.verl.memory.table_of", lambda dataset: dataset.dataframe)
    memory = VerlMemory(trainer, Problem([str(i) for i in range(num)]), 10_000, 99, 200)
    return memory, rows, trainer


def batch_of(rows: Queue, step: VerlStep) -> Any:
    """A batch whose answers have the key's place as tokens."""
    for place, key in enumerate(step._keys):
        answer = torch.tensor([10 + place, 11])
        rows.rows[key] = fields(
            responses=answer,
            input_ids=torch.cat([torch.tensor([5, 6]), answer]),
            response_mask=torch.tensor([1, 1]),
            uid=key[0],
            session_id=0,
            index=0,
        )
    tag = {"seq_len": 4, "prompt_len": 2, "response_len": 2, "status": "success"}
    return queue.batch_of(dict.fromkeys(step._keys, tag))


def test_a_success_is_stored_joins_a_later_step_and_expires(monkeypatch) -> None:
    memory, rows, trainer = made(monkeypatch)
    step, _ = opened({"a": [1, 0], "b": [0, 0]})
    assert step._weights is not None
    step._weights = type(step._weights)(
        step._weights.weight_R, step._weights.keep_R, remember_R=step.outcome.correct_R
    )
    batch = batch_of(rows, step)
    memory.note(step, {})
    keys = list(batch.keys)
    memory.recall(batch, step)
    assert batch.keys == keys and memory.recalled == (0, 0)
    assert memory.store[0].completion_ids.tolist() == [10, 11] and memory.store[0].step == 5
    assert memory.store[0].rewards_K.tolist() == [1.0]
    trainer.global_steps = 6
    step, _ = opened({"a": [0, 0], "b": [1, 1]})
    step._weights = type(step._weights)(
        step._weights.weight_R,
        step._weights.keep_R,
        remember_R=step.outcome.correct_R,
        recall=(Recall(0, "replay", weight=0.5),),
    )
    batch = batch_of(rows, step)
    memory.note(step, {})
    memory.recall(batch, step)
    assert batch.keys == ["a_0_0", "a_1_0", "b_0_0", "a_2_0"] and "b_1_0" not in rows.rows
    assert batch.tags[-1]["max_global_steps"] == 4
    assert rows.rows["a_2_0"]["responses"].tolist() == [10, 11]
    assert rows.rows["a_2_0"]["uid"] == "a" and rows.rows["a_2_0"]["session_id"] == 2
    assert memory.recalled == (1, 2) and memory.metrics()["memory_row_share"] == 0.25
    assert memory.store[1].completion_ids.tolist() == [13, 11], "read before its row was deleted"
    trainer.global_steps = 206
    step, _ = opened({"a": [0, 0], "b": [0, 0]})
    memory.recall(batch_of(rows, step), step)
    assert 0 not in memory.store and 1 in memory.store


def test_a_success_with_a_tool_s_image_is_refused_when_it_is_to_be_stored(monkeypatch) -> None:
    """A model that reads images may get them from a tool; the first row of the batch has none."""
    memory, rows, trainer = made(monkeypatch)
    trainer.processor = object()
    step, _ = opened({"a": [0, 1]})
    assert step._weights is not None and step.outcome is not None
    step._weights = type(step._weights)(
        step._weights.weight_R, step._weights.keep_R, remember_R=step.outcome.correct_R
    )
    batch_of(rows, step)
    rows.rows["a_0_0"]["multi_modal_inputs"] = rows.rows["a_1_0"]["multi_modal_inputs"] = {}
    memory.note(step, {})
    rows.rows["a_1_0"]["multi_modal_inputs"] = {"pixel_values": torch.ones(2)}
    with pytest.raises(UnsupportedError, match=r"has pixel_values.*tool's answer"):
        memory.note(step, {})


def test_the_least_likely_anchors_are_found_by_one_pass_of_the_policy(monkeypatch) -> None:
    """Tokens are minus their log-probabilities, those of a tool do not count."""
    memory, rows, trainer = made(monkeypatch)
    ones = torch.tensor([1, 1])
    for prompt, (answer, mask) in enumerate([((3, 3), ones), ((9, 1), ones), ((2, 50), [1, 0])]):
        memory.store.put(
            prompt + 2,
            stored(torch.tensor([1]), torch.tensor(answer), torch.as_tensor(mask), 1.0, 1),
        )
    step, _ = opened({"a": [1, 1], "b": [0, 1]})
    step._weights = type(step._weights)(
        step._weights.weight_R,
        step._weights.keep_R,
        recall=tuple(Recall(p, "anchor", 1.0) for p in (2, 3, 4)),
        most_anchors=1,
        anchor_pick="least",
    )
    batch = batch_of(rows, step)
    before = set(batch.keys)
    memory.recall(batch, step)
    (scored,) = trainer.actor_rollout_wg.scored
    assert len(scored) == 4 and scored[-1] in step._keys, "three candidates and a row that fills up"
    (new,) = set(batch.keys) - before
    assert rows.rows[new]["responses"].tolist() == [9, 1]
    assert set(rows.rows) == set(batch.keys), "the candidates are gone"
    three = [new, *sorted(before & set(batch.keys))[:2]]
    assert memory.score(batch, three)[0].tolist() == [-9.0, -1.0]


@pytest.mark.parametrize("rows", range(1, 40))
@pytest.mark.parametrize("micro", [None, 1, 4, 32])
def test_scored_rows_are_shared_out_in_whole_micro_batches(rows: int, micro: int | None) -> None:
    for workers in (1, 2, 8):
        for spare in (workers - 1, 10**6):
            filling, size = shares(rows, workers, micro, spare)
            assert filling <= spare and (rows + filling) % (workers * size) == 0
            assert size <= (micro or rows) and filling < max(rows, workers)


def test_several_outputs_of_a_rollout_are_refused(monkeypatch) -> None:
    memory, _, _ = made(monkeypatch)
    controller = Controller(make_strategy("uniform"), Problem(["x", "y"]))
    step = VerlStep(controller.plan(Request(1, 2, np.array([0]))))
    step.submit(["a"], [0], [2])
    one = np.ones(3)
    step.read(["a_0_0", "a_0_1", "a_1_0"], RowScores(one, one > 0, one.astype(int), one > 0))
    with pytest.raises(UnsupportedError, match=r"several outputs.*return one from the loop"):
        memory.note(step, {})


def trained(strategy: str = "uniform + memory", seed: int = 0) -> tuple[Controller, RolloutStore]:
    problem = Problem(["a", "b", "c"])
    controller = Controller(make_strategy(strategy), problem, seed=seed)
    plan = controller.plan(Request(2, 4, np.array([0, 1])))
    one = np.ones(4)
    controller.observe(
        VerlStep(plan).read([], RowScores(one[:0], one[:0] > 0, one[:0].astype(int), one[:0] > 0))
    )
    store = RolloutStore(problem, 10_000, 99, ["rm_scores"])
    store.put(1, stored(torch.tensor([1]), torch.tensor([4, 5]), torch.tensor([1, 0]), 1.0, 3))
    return controller, store


def test_memory_and_controller_are_restored_together(tmp_path: Path) -> None:
    controller, store = trained()
    checkpoints.save(tmp_path, controller, store)
    again, empty = Controller(make_strategy("uniform + memory"), controller.problem), trained()[1]
    empty.take([])
    checkpoints.load(tmp_path, again, empty, "exact")
    assert empty[1].own.tolist() == [True, False] and empty[1].step == 3
    checkpoints.save(tmp_path / "again", again, empty)
    for name in (checkpoints.STATE_FILE, STORE_FILE):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("dies_in", ["controller", "store"])
def test_a_process_that_dies_between_the_files_leaves_no_mixed_pair(
    tmp_path: Path, monkeypatch, dies_in: str
) -> None:
    """An earlier attempt's files are in the folder, whole."""
    checkpoints.save(tmp_path, *trained(seed=1))
    controller, store = trained()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(controller if dies_in == "controller" else store, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, controller, store)
    _, other = trained()
    with pytest.raises(CheckpointError, match=r"no gdro_memory.npz: .*killed.*resume_from_path"):
        checkpoints.load(tmp_path, controller, other, "exact")
    assert 1 in other


def test_a_strategy_without_a_memory_leaves_no_memory_of_an_earlier_run(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, *trained())
    checkpoints.save(tmp_path, trained()[0], None)
    assert not (tmp_path / STORE_FILE).exists()


def test_a_checkpoint_of_another_strategy_is_refused_with_the_fix(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, trained("rollout-gdro")[0], trained()[1])
    with pytest.raises(CheckpointError, match=r"same strategy.*\+gdro.resume=fresh"):
        checkpoints.load(tmp_path, *trained(), "exact")


def test_placed_rollouts_without_replays_leave_other_factors_alone() -> None:
    step, _ = opened({"a": [1, 1], "c": [1, 0]})
    (new,) = step.join(Placed((Recall(8, "anchor", 1.0),), np.array([0])))
    assert step.factors(["a_1_0", "c_0_0", "c_1_0", new, "pad_0_0"]).tolist() == [0, 1, 1, 1, 1]
