"""Memory in verl: remembered rollouts take the places of rows without gradient in the queue."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from gdro.errors import UnsupportedError
from gdro.integrations.verl import queue
from gdro.integrations.verl.prompts import table_of
from gdro.integrations.verl.recalled import (
    MEDIA,
    check_tokens_alone,
    columns_of,
    dataset_fields,
    stored,
    tag_of,
)
from gdro.integrations.verl.step import VerlStep
from gdro.memory.joining import Joining, memory_metrics, recalled
from gdro.memory.store import RolloutStore, StoredRollout
from gdro.numerics.arrays import IntArray
from gdro.problem import Problem

_REWARD = "rm_scores"
_TOKENS = ("prompts", "responses", "response_mask")


class VerlMemory:
    """Stores successful rollouts on the driver, and puts recalled ones into a step's batch.

    Args:
        trainer: verl's trainer.
        problem: The pool of prompts.
        max_bytes: Most bytes of tokens in the store.
        vocabulary: Number of tokens of the model.
        keeps_for: Steps that a rollout is kept, 0: no limit.
    """

    def __init__(
        self, trainer: Any, problem: Problem, max_bytes: int, vocabulary: int, keeps_for: int
    ) -> None:
        self.store = RolloutStore(problem, max_bytes, vocabulary, [_REWARD])
        self._trainer = trainer
        self._keeps_for = keeps_for
        self._noted: list[tuple[int, StoredRollout]] = []
        self._last: Joining | None = None
        self._rows = 1

    @property
    def recalled(self) -> tuple[int, int]:
        """Number of rows that joined in the last step, and of their tokens."""
        return recalled(self._last)

    def metrics(self) -> dict[str, float]:
        """Scalars of the last step and of the store."""
        return memory_metrics(self._last, self.store, self._rows, [_REWARD])

    def note(self, step: VerlStep, tags: Mapping[str, Mapping[str, Any]]) -> None:
        """Read the step's successes, of rows that may be deleted before `recall` stores them.

        Args:
            step: The step, weighed.
            tags: verl's tags of rows by key, with the version of the weights that began a rollout;
                one without is taken for a rollout of this step.

        Raises:
            UnsupportedError: A rollout has several outputs, or images, audio or video.
        """
        if step.several_outputs:
            raise UnsupportedError(
                "an agent loop returned several outputs for one rollout, and a memory holds one answer "
                "for each; return one from the loop, or train with a strategy without a memory, e.g. "
                "+gdro.strategy=rollout-gdro"
            )
        assert step.outcome is not None
        latest = step.latest_successes()
        if not latest:
            self._noted = []
            return
        keys = step.keys_of(list(latest.values()))
        if getattr(self._trainer, "processor", None) is not None:  # else the model reads text alone
            for media in queue.objects(keys, MEDIA):
                check_tokens_alone(media)
        prompts, answers, masks = (queue.tensors(keys, name) for name in _TOKENS)
        rewards = step.outcome.reward_R[list(latest.values())].tolist()
        # verl numbers weights by the step after which they were sent.
        versions = [tags.get(key, {}).get("min_global_steps") for key in keys]
        steps = [self._trainer.global_steps if v is None else v + 1 for v in versions]
        rows = [stored(*row) for row in zip(prompts, answers, masks, rewards, steps, strict=True)]
        self._noted = [(p, row) for p, row in zip(latest, rows, strict=True) if row.own_tokens]

    def recall(self, batch: Any, step: VerlStep) -> None:
        """Put the rollouts that join this step into its batch; store what `note` read."""
        self._rows = len(batch.keys)

        def least_likely(prompt_M: IntArray) -> list[int]:
            return self._least_likely(batch, prompt_M)

        placed = step.place(batch.keys, self.store.rollouts, least_likely)
        # Read before this step's successes replace earlier ones.
        self._last = None if placed is None else Joining.of(placed, self.store)
        if placed is not None and self._last is not None:
            old, keys = step.keys_of(placed.row_M), step.join(placed)
            tags = self._put(batch, keys, self._last.rollouts, placed.prompt_M)
            queue.exchange(batch, dict(zip(old, zip(keys, tags, strict=True), strict=True)))
        for prompt, rollout in self._noted:
            # In asynchronous modes a success of older weights may come later.
            if prompt not in self.store or self.store[prompt].step <= rollout.step:
                self.store.put(prompt, rollout)
        self._noted = []
        if self._keeps_for:
            self.store.expire(self._trainer.global_steps - self._keeps_for)

    def score(self, batch: Any, keys: Sequence[str]) -> list[torch.Tensor]:
        """Log-probabilities of the answers of some rows under the current policy.

        The last rows of the batch fill up what verl shares out evenly among its workers.
        """
        inside = set(keys)
        others = (key for key in reversed(batch.keys) if key not in inside)
        rollout = self._trainer.config.actor_rollout_ref.rollout
        spare = len(set(batch.keys) - inside)
        configured = rollout.get("log_prob_micro_batch_size_per_gpu")
        filling, micro = shares(len(keys), self._workers(), configured, spare)
        meta = queue.batch_of({key: {} for key in [*keys, *islice(others, filling)]})
        meta.extra_info.update(
            calculate_entropy=False,
            compute_loss=False,
            temperature=rollout.temperature,
            micro_batch_size_per_gpu=micro,
        )
        self._trainer.actor_rollout_wg.compute_log_prob(meta)
        answers = queue.tensors(keys, "responses")
        every = queue.tensors(keys, "log_probs")
        # Of prompt and answer, each at the token before the one that it is of.
        return [row[len(row) - len(a) - 1 : -1] for row, a in zip(every, answers, strict=True)]

    def _workers(self) -> int:
        group, role = self._trainer.actor_rollout_wg, "actor"
        if role not in group._dispatch_info:
            group._dispatch_info[role] = group._query_dispatch_info(role)
        return max(group._dispatch_info[role]) + 1

    def _put(
        self, batch: Any, keys: Sequence[str], rollouts: Sequence[StoredRollout], prompt_M: IntArray
    ) -> list[dict[str, Any]]:
        """Write recalled rollouts to the queue, and return their tags."""
        fields, tag = queue.fields_of(batch.keys[0]), batch.tags[0]
        trainer = self._trainer
        table, prompt_key = table_of(trainer.train_dataset), trainer.config.data.prompt_key
        owns = dataset_fields(table, prompt_M.tolist(), fields, prompt_key)
        for key, own in zip(keys, owns, strict=True):
            uid, session, _ = key.rsplit("_", 2)
            own |= {"uid": uid, "session_id": int(session)}
        tags = [tag_of(rollout, tag) for rollout in rollouts]
        queue.insert(keys, columns_of(fields, rollouts, owns), tags)
        return tags

    def _least_likely(self, batch: Any, prompt_M: IntArray) -> list[int]:
        """Order of stored rollouts, the least likely first; they are in the queue meanwhile."""
        rollouts = [self.store[prompt] for prompt in prompt_M.tolist()]
        keys = [f"{uuid4()}_0_0" for _ in rollouts]
        self._put(batch, keys, rollouts, prompt_M)
        logps = self.score(batch, keys)
        queue.clear(keys)
        totals = [
            float(row[torch.as_tensor(rollout.own)].double().sum())
            for row, rollout in zip(logps, rollouts, strict=True)
        ]
        return np.argsort(totals, kind="stable").tolist()


def shares(rows: int, workers: int, micro: int | None, spare: int) -> tuple[int, int]:
    """How many rows to add so that workers get as many micro-batches, and the micro-batches' size.

    Args:
        rows: Number of rows to share out.
        workers: Number of workers.
        micro: Rows of one forward pass, None for no limit.
        spare: Number of rows that can be added.

    >>> shares(5, 2, 4, 60), shares(9, 2, 4, 60), shares(9, 2, 4, 6)
    ((1, 3), (7, 4), (1, 1))
    """
    size = -(-rows // workers)
    size = size if micro is None else min(micro, size)
    filling = -rows % (workers * size)
    return (filling, size) if filling <= spare else (-rows % workers, 1)
