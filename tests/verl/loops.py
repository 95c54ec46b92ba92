"""Stand-ins around verl's real trainers: a queue in a dictionary, agent loops, workers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import verl.trainer.ppo.padding_utils as verl_padding
import verl.trainer.ppo.v1.replay_buffer as verl_buffer
import verl.trainer.ppo.v1.trainer_base as verl_trainer
from configs import config
from datasets import Dataset
from omegaconf import open_dict
from tensordict import NonTensorStack, TensorDict
from torchdata.stateful_dataloader import StatefulDataLoader
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.trainer_separate_async import HybridEngineMode
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.skip import SkipManager

from gdro import Controller
from gdro.integrations.verl import GDROColocateAsync, GDROSeparateAsync, GDROTrainer, queue
from gdro.integrations.verl.memory import VerlMemory
from gdro.integrations.verl.prompts import prompts_of

CLASSES = {"sync": GDROTrainer, "colocate": GDROColocateAsync, "separate": GDROSeparateAsync}
# Two updates of four prompts for each time that weights are sent.
OPTIONS = {
    "sync": ("trainer.v1.trainer_mode=gdro", "actor_rollout_ref.actor.ppo_mini_batch_size=8"),
    "colocate": (
        "trainer.v1.trainer_mode=gdro_colocate_async",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
    ),
    "separate": (
        "trainer.v1.trainer_mode=gdro_separate_async",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "trainer.v1.separate_async.parameter_sync_step=2",
        "actor_rollout_ref.rollout.nnodes=1",
        "actor_rollout_ref.rollout.n_gpus_per_node=2",
        "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
    ),
}
COMMON = (
    "data.train_batch_size=8",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=4",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8",
)


class Queue:
    """TransferQueue in a dictionary: tag and fields of each key."""

    KVBatchMeta = KVBatchMeta

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, dict[str, Any]] = {}

    def kv_list(self, partition_id: str | None = None) -> dict[str, Any]:
        return {"train": copy.deepcopy(self.tags)} if self.tags else {}

    def kv_batch_put(
        self, keys: list[str], partition_id: str, fields: Any = None, tags: Any = None
    ) -> Any:
        for name in [] if fields is None else fields.keys():
            values = fields[name]  # as TransferQueue reads them
            values = values.unbind() if isinstance(values, torch.Tensor) else list(values)
            for key, value in zip(keys, values, strict=True):
                self.rows.setdefault(key, {})[name] = value
        for key, tag in zip(keys, tags or [{}] * len(keys), strict=True):
            self.tags.setdefault(key, {}).update(tag)
        return KVBatchMeta(partition_id=partition_id, keys=list(keys), tags=[self.tags[k] for k in keys])

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: Any = None) -> TensorDict:
        rows = [self.rows[key] for key in keys]
        names = select_fields or list(rows[0])
        fields: dict[str, Any] = {}
        for name in (name for name in names if all(name in row for row in rows)):
            values = [row[name] for row in rows]
            nested = isinstance(values[0], torch.Tensor)
            fields[name] = (
                torch.nested.as_nested_tensor(values, layout=torch.jagged)
                if nested
                else NonTensorStack(*values)
            )
        return TensorDict(fields, batch_size=[len(keys)])

    def kv_clear(self, keys: list[str], partition_id: str) -> None:
        for key in keys:
            self.tags.pop(key), self.rows.pop(key, None)


class Loops:
    """Agent loops that answer at once; those of some prompts fail, and some do not end.

    Attributes:
        failing: Prompts whose loops fail.
        endless: Prompts whose loops do not end.
        wrong: Whether every answer is wrong from now on.
        version: Version of the weights.
        extra: Further results of the reward function.
        asked: Prompts and rollouts that were asked for.
        answers: Rows by key.
        versions: Version of the weights that each was answered with.
    """

    def __init__(self, rows: Queue) -> None:
        self._queue, self.failing, self.endless = rows, set[int](), set[int]()
        self.wrong, self.version, self.extra = False, 0, dict[str, float]()
        self.asked: list[tuple[int, int]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}

    def generate_sequences(self, batch: Any) -> None:
        uids, counts = list(batch["uid"]), list(batch["__rollout_n__"])
        for uid, info, num in zip(uids, batch["extra_info"], counts, strict=True):
            index, num = info["index"], int(num)
            self.asked.append((index, num))
            if index in self.endless:
                self._queue.tags[uid]["status"] = "running"
            elif index in self.failing:
                self._queue.tags[uid]["status"] = "failure"
            else:
                self._answer(uid, index, num)
                self._queue.tags[uid]["status"] = "finished"

    def _answer(self, uid: str, index: int, num: int) -> None:
        for session in range(num):
            answer = torch.arange(1, 2 + (index + session) % 3)
            rewards = torch.zeros(len(answer))
            # A third of the prompts is always wrong, one always right, one now and then.
            right = (index % 3 == 2) or (index % 3 == 1 and session % 2)
            rewards[-1] = float(right and not self.wrong)
            key, prompt = f"{uid}_{session}_0", torch.tensor([index, 1])
            self.answers[key] = {
                "prompts": prompt,
                "responses": answer,
                "input_ids": torch.cat([prompt, answer]),
                "position_ids": torch.arange(len(prompt) + len(answer)),
                "response_mask": torch.ones_like(answer),
                "rollout_log_probs": torch.zeros(len(answer)),
                "rm_scores": rewards,
                "extra_fields": {"reward_extra_info": self.extra},
                "extra_info": {"index": index},
                "uid": uid,
                "num_turns": 2,
            }
            size = len(prompt) + len(answer)
            version = self.versions[key] = self.version
            versions = {"global_steps": 1, "min_global_steps": version, "max_global_steps": version}
            self._queue.rows[key] = dict(self.answers[key])
            lengths = {"prompt_len": 2, "response_len": len(answer), "seq_len": size}
            self._queue.tags[key] = {"status": "success", **lengths, **versions}


class Workers:
    """Two ranks, which check what verl's engines check, and write down each pass."""

    def __init__(self, rows: Queue) -> None:
        self._queue, self._dispatch_info = rows, {"actor": [0, 1]}
        self.updates: list[dict[str, Any]] = []
        self.trained: list[dict[str, dict[str, Any]]] = []
        self.weights: list[str] = []

    def compute_log_prob(self, batch: Any) -> Any:
        micro = batch.extra_info.get("micro_batch_size_per_gpu", 8)
        assert micro <= 8 and len(batch) % (2 * micro) == 0
        for key in batch.keys:
            ids = self._queue.rows[key]["input_ids"]
            logps = -torch.cat([ids[1:], ids[:1]]).float() / 100
            self._queue.rows[key] |= {"log_probs": logps, "entropy": torch.zeros(len(ids))}
        return batch

    def update_actor(self, batch: Any) -> Any:
        given = dict(batch.extra_info)
        micro = given.get("micro_batch_size_per_gpu", 4)
        assert micro <= 4 and len(batch) % given["mini_batch_size"] == 0
        assert given["mini_batch_size"] % (2 * micro) == 0
        assert given["global_batch_size"] == given["mini_batch_size"]
        pairs = zip(batch.keys, batch.tags, strict=True)
        real = {key: tag for key, tag in pairs if not tag.get("is_padding", False)}
        self.updates.append({"rows": len(batch), "real": len(real), "mini": given["mini_batch_size"]})
        self.trained.append({key: self._queue.rows[key] | {"tag": tag} for key, tag in real.items()})
        return {"metrics": {"mfu": 0.0, "loss": 1.0}}

    def save_model_to_cpu(self, place: int) -> None:
        self.weights.append(f"save {place}")

    def restore_model_from_cpu(self, place: int) -> None:
        self.weights.append(f"restore {place}")

    def clear_cpu_model(self, place: int) -> None:
        self.weights.append(f"clear {place}")


class Rows(list[dict[str, Any]]):
    """A dataset as verl gives it, with its table."""

    def __init__(self, num: int) -> None:
        super().__init__({"raw_prompt": [], "extra_info": {"index": i}, "index": i} for i in range(num))
        self.dataframe = Dataset.from_list(
            [{"prompt": "p", "extra_info": {"index": i}} for i in range(num)]
        )


def made(
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    strategy: str,
    *options: str,
    num: int = 24,
    apply: bool = True,
    rows: Any = None,
) -> SimpleNamespace:
    """A real trainer of verl with a controller, over stand-ins; no Ray is started."""
    rows = Queue() if rows is None else rows
    for module in (queue, verl_trainer, verl_buffer, verl_padding):
        monkeypatch.setattr(module, "tq", rows)
    given = config(*COMMON, *OPTIONS[mode], *options)
    with open_dict(given):
        given.gdro = {"strategy": strategy, "poll_interval": 0.001, "apply": apply}
    trainer: Any = CLASSES[mode](given)
    trainer.train_dataset = Rows(num)
    trainer._prompts = prompts_of(trainer.train_dataset.dataframe, "extra_info.index", None, ())
    trainer.controller = Controller(
        trainer._strategy, trainer._prompts.problem, apply=trainer._gdro.apply
    )
    if trainer._strategy.remembers:
        trainer._memory = VerlMemory(
            trainer, trainer._prompts.problem, 10_000, 99, trainer._strategy.keeps_for
        )
    trainer.train_dataloader = StatefulDataLoader(
        trainer.train_dataset, batch_size=1, collate_fn=collate_fn
    )
    trainer.train_dataloader_it = None
    given.data.gen_batch_size = 1
    trainer.global_steps, trainer.timing_raw = 1, {}
    trainer.curr_step_profile = trainer.prev_step_profile = False
    trainer.agent_loop_manager = loops = Loops(rows)
    trainer.actor_rollout_wg = workers = Workers(rows)
    trainer.reward_loop_manager = SimpleNamespace(reward_loop_worker_handles=[])
    done: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    names = ("abort_replicas", "sleep_replicas", "update_weights", "resume_generation_replicas")
    trainer.checkpoint_manager = SimpleNamespace(**dict.fromkeys(names, done))
    trainer.standalone_checkpoint_manager = trainer.checkpoint_manager
    trainer.tokenizer = SimpleNamespace(eos_token_id=0)
    trainer.current_mode = HybridEngineMode.TRAINER
    trainer.ref_in_actor = False
    SkipManager.init(given)
    return SimpleNamespace(trainer=trainer, queue=rows, loops=loops, workers=workers)


def train(made_of: SimpleNamespace) -> tuple[dict[str, float], Any]:
    """One step of verl's trainer, and its metrics and batch; the queue is cleaned as `fit` does."""
    metrics: dict[str, Any] = {}
    trainer = made_of.trainer
    trainer.on_step_begin()
    batch = trainer.step(metrics, trainer.timing_raw)
    trainer.on_step_end()
    made_of.queue.kv_clear(batch.keys, "train")
    trainer.global_steps += 1
    return {k: float(v) for k, v in metrics.items() if np.ndim(v) == 0}, batch
