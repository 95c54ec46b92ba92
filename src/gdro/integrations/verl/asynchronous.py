"""verl's asynchronous trainers with a controller.

Rollouts are allocated when prompts are submitted; a plan is opened for the groups of a batch when it is
sampled. A group's number is in its uid, so that verl's own checkpoint of the queue restores it.
"""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from verl.trainer.ppo.v1 import PPOTrainerColocateAsync, PPOTrainerSeparateAsync, register_trainer
from verl.utils import tensordict_utils as tu

from gdro.integrations.verl import queue
from gdro.integrations.verl.mini_batches import MiniBatches, micro_limits
from gdro.integrations.verl.step import VerlStep
from gdro.integrations.verl.trainer import Controlled
from gdro.numerics.arrays import IntArray

_MARK = "-g"  # stands before the number of a group in its uid
_TOTAL = "gdro/total_"
_SUMMED = ("missing", "padding", "dropped_groups", "memory_replays", "memory_anchors", *queue.COUNTS)
_SUMS = tuple(f"gdro/{name}" for name in _SUMMED)


def group_of(uid: str) -> int:
    """The number of a group; -1 for a uid that is not of this adapter.

    >>> group_of("6f1c-g12"), group_of("6f1c")
    (12, -1)
    """
    _, mark, number = uid.rpartition(_MARK)
    return int(number) if mark and number.isdecimal() else -1


class Asynchronous(Controlled):
    """An asynchronous trainer of verl, which a class derives from after this one, with a controller."""

    _cut: MiniBatches | None = None
    _num_rows = 0

    # -- submission ---------------------------------------------------------------------------

    def _next_train_batch(self, num_prompts: int | None = None) -> Any:
        size = self.config.data.train_batch_size
        num = size if num_prompts is None else num_prompts
        if self.controller.selects:
            parts = [min(size, num - start) for start in range(0, num, size)]
            allocations = [self.controller.allocate(self._request(part, None)) for part in parts]
            prompt_P = np.concatenate([a.prompt_P for a in allocations])
            group_P = np.concatenate([a.group_P for a in allocations])
            rollouts_P = np.concatenate([a.rollouts_P for a in allocations])
            batch = self._batch_of(prompt_P.tolist())
        else:
            batch = super()._next_train_batch(num_prompts)
            prompt_P = self._prompts.rows(batch)
            group_P, rollouts_P = np.zeros_like(prompt_P), np.zeros_like(prompt_P)
            for place_P in once_each(prompt_P, size):
                offered_P = prompt_P[place_P]
                allocation = self.controller.allocate(self._request(len(offered_P), offered_P))
                group_P[place_P], rollouts_P[place_P] = allocation.group_P, allocation.rollouts_P
        numbers = zip(batch["uid"], group_P.tolist(), strict=True)
        tu.assign_non_tensor_stack(batch, "uid", [f"{uid}{_MARK}{group}" for uid, group in numbers])
        tu.assign_non_tensor_stack(batch, "__rollout_n__", rollouts_P.tolist())
        return batch

    # -- training -----------------------------------------------------------------------------

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, Any]) -> Any:
        self._sums = Counter[str]()
        batch = super().step(metrics, timing_raw)
        # verl adds up totals, and takes means of counts, over the updates of one step.
        metrics.update({k: v for k, v in self.controller.metrics().items() if k.startswith(_TOTAL)})
        metrics.update({name: float(value) for name, value in self._sums.items()})
        return batch

    def _weigh(self, data: Any, keys: list[str]) -> dict[str, float]:
        logged = super()._weigh(data, keys)
        self._sums.update({name: logged[name] for name in _SUMS if name in logged})
        return logged

    def _balance_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        self._step = self._adopted(batch.keys)
        self._num_rows = len(batch.keys)
        return super()._balance_batch(batch, *args, **kwargs)

    def _adopted(self, keys: list[str]) -> VerlStep:
        """Open a plan of a batch's groups, and give up those that verl threw away."""
        uid_of = {group_of(key.split("_", 1)[0]): key.split("_", 1)[0] for key in keys}
        group_P = np.array(sorted(uid_of))
        known = self.controller.open_groups
        place_P = np.searchsorted(known.group_P, group_P)
        step = VerlStep(self.controller.adopt(group_P), joins=False)
        prompts, rollouts = known.prompt_P[place_P].tolist(), known.rollouts_P[place_P].tolist()
        step.submit([uid_of[group] for group in group_P.tolist()], prompts, rollouts)
        self._evict([group_of(uid) for uid in queue.groups()])
        return step

    def _evict(self, queued: list[int]) -> None:
        open_P = self.controller.open_groups.group_P
        self.controller.evict(open_P[~np.isin(open_P, np.array(queued, np.int64))])

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        prompts = self.config.data.train_batch_size // self.parameter_sync_step
        parts = self.config.actor_rollout_ref
        self._cut = None
        if self._num_rows == prompts * parts.rollout.n:
            return super()._get_required_batch_multiple(dp_size)
        num = -(-prompts // parts.actor.ppo_mini_batch_size)
        reference = self.use_reference_policy and not self.ref_in_actor
        limits = micro_limits(self.config, reference)
        self._cut = MiniBatches.of(self._num_rows, dp_size, num, limits)
        return self._cut.rows

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._set_micro(batch, "log_prob")
        return super()._compute_old_log_prob(batch, metrics)

    def _compute_ref_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._set_micro(batch, "log_prob" if self.ref_in_actor else "reference")
        return super()._compute_ref_log_prob(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        self._set_micro(batch, "update")
        with nullcontext() if self._cut is None else self._cut.applied(self.config):
            return super()._update_actor(batch, metrics)

    def _set_micro(self, batch: Any, name: str) -> None:
        if self._cut is not None and name in self._cut.micro_of:
            batch.extra_info["micro_batch_size_per_gpu"] = self._cut.micro_of[name]

    # -- checkpoints --------------------------------------------------------------------------

    def _load_controller(self) -> None:
        """As the base class does; groups that only verl's queue or the controller has are dropped."""
        super()._load_controller()
        known = set(self.controller.open_groups.group_P.tolist())
        uids = {uid for uid in queue.groups() if group_of(uid) in known}
        self._restored_tq_prompt_count -= queue.keep_groups(uids)
        self._evict([group_of(uid) for uid in uids])


def once_each(prompt_P: IntArray, size: int) -> Iterator[IntArray]:
    """Places of prompts in parts of at most `size` consecutive ones, in which each is once.

    A batch that spans two epochs may hold a prompt twice.

    >>> [part.tolist() for part in once_each(np.array([4, 7, 4, 9]), 3)]
    [[0, 1], [2], [3]]
    """
    for start in range(0, len(prompt_P), size):
        part_P = prompt_P[start : start + size]
        seen = Counter[int]()
        layer_P = np.zeros(len(part_P), np.int64)
        for place, prompt in enumerate(part_P.tolist()):
            layer_P[place] = seen[prompt]
            seen[prompt] += 1
        for layer in range(max(seen.values())):
            yield start + np.flatnonzero(layer_P == layer)


@register_trainer("gdro_colocate_async")
class GDROColocateAsync(Asynchronous, PPOTrainerColocateAsync):
    """verl's trainer `colocate_async` with a controller; arguments and errors as of `Controlled`."""

    mode = "colocate_async"


@register_trainer("gdro_separate_async")
class GDROSeparateAsync(Asynchronous, PPOTrainerSeparateAsync):
    """verl's trainer `separate_async` with a controller; arguments and errors as of `Controlled`."""

    mode = "separate_async"
