"""The store behind a memory: tokens of rollouts by prompt, within a byte limit."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gdro.checkpoint import archive
from gdro.checkpoint.codec import Arrays, required
from gdro.errors import CheckpointError, StrategyError
from gdro.problem import Problem
from gdro.types import LARGEST

STORE_FILE = "gdro_memory.npz"
"""Name of the store's file in a trainer's checkpoint."""

_SCHEMA = 2  # 1 had no loss_mask: the model wrote every token of a completion
_DTYPES = {
    "key_hash_M": np.uint64,
    "prompt_length_M": np.int64,
    "completion_length_M": np.int64,
    "step_M": np.int64,
    "prompt_ids": np.int32,
    "completion_ids": np.int32,
    "loss_mask": np.bool_,
    "rewards_MK": np.float32,
}
# Written only where a rollout has them: of groups that are remembered whole.
_OF_GROUPS = {"slot_M": np.int64, "advantage_M": np.float64, "logps": np.float32}
_LATEST = 2**53  # far beyond any training


@dataclass(frozen=True)
class StoredRollout:
    """One rollout.

    Attributes:
        prompt_ids: Tokens of the prompt as given to the model, without padding.
        completion_ids: Tokens of the completion.
        rewards_K: Reward from each of the K reward functions, shape (K,).
        loss_mask: Which tokens of the completion the model wrote, of the same shape; tools or an
            environment wrote the others. None: all.
        step: Step of the training in which it was generated, 0 where the adapter does not say.
        advantage: Its advantage in its own step, 0 where it is not kept.
        logps: Log-probability of each token of the completion under the policy that generated it, of
            their shape; None where they are not kept.
    """

    prompt_ids: npt.NDArray[np.int32]
    completion_ids: npt.NDArray[np.int32]
    rewards_K: npt.NDArray[np.float32]
    loss_mask: npt.NDArray[np.bool_] | None = None
    step: int = 0
    advantage: float = 0.0
    logps: npt.NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        further = sum(0 if part is None else part.nbytes for part in (self.loss_mask, self.logps))
        return self.prompt_ids.nbytes + self.completion_ids.nbytes + self.rewards_K.nbytes + further

    @property
    def own_tokens(self) -> int:
        """Number of tokens of the completion that the model wrote."""
        mask = self.loss_mask
        return len(self.completion_ids) if mask is None else int(np.count_nonzero(mask))

    @property
    def own(self) -> npt.NDArray[np.bool_]:
        """Which tokens of the completion the model wrote, of the completion's shape."""
        return np.ones(len(self.completion_ids), bool) if self.loss_mask is None else self.loss_mask


class RolloutStore:
    """The latest rollouts of each prompt; the oldest are dropped when the byte limit is reached.

    Args:
        problem: The dataset, whose keys identify prompts across runs.
        max_bytes: Most bytes of tokens and rewards.
        vocabulary: Number of tokens of the model; files with other tokens are refused.
        rewards: Names of the K reward functions. Rollouts of a file without one of them cannot be
            scored and are left out.

    Raises:
        StrategyError: `max_bytes` is not positive.
    """

    def __init__(
        self, problem: Problem, max_bytes: int, vocabulary: int, rewards: Sequence[str]
    ) -> None:
        if max_bytes < 1:
            raise StrategyError(
                f"memory_bytes is {max_bytes!r}; allowed: 1 or more (1,000 tokens take 4 kB)"
            )
        self._problem = problem
        self._max_bytes = max_bytes
        self._vocabulary = vocabulary
        self._rewards = list(rewards)
        self._rollouts: OrderedDict[int, tuple[StoredRollout, ...]] = OrderedDict()
        self.nbytes = 0

    @property
    def rollouts(self) -> Mapping[int, tuple[StoredRollout, ...]]:
        """The stored rollouts by prompt, the oldest first."""
        return self._rollouts

    def __len__(self) -> int:
        return sum(map(len, self._rollouts.values()))

    def __contains__(self, prompt: object) -> bool:
        return prompt in self._rollouts

    def __getitem__(self, prompt: int) -> StoredRollout:
        return self._rollouts[prompt][0]

    def put(self, prompt: int, *rollouts: StoredRollout) -> None:
        """Store rollouts in place of their prompt's earlier ones; drop the oldest beyond the limit."""
        self.nbytes -= _bytes(self._rollouts.pop(prompt, ()))
        if rollouts:
            self._rollouts[prompt] = rollouts
            self.nbytes += _bytes(rollouts)
        while self.nbytes > self._max_bytes:
            self._drop_oldest()

    def expire(self, before: int) -> None:
        """Drop the rollouts of steps before this one."""
        # Of all: in asynchronous runs older ones may be stored after younger ones.
        expired = [prompt for prompt, group in self._rollouts.items() if group[0].step < before]
        for prompt in expired:
            self.nbytes -= _bytes(self._rollouts.pop(prompt))

    def _drop_oldest(self) -> None:
        _, dropped = self._rollouts.popitem(last=False)
        self.nbytes -= _bytes(dropped)

    def save(self, path: str | Path) -> None:
        """Write the store to one file, atomically."""
        rows = [rollout for group in self._rollouts.values() for rollout in group]
        prompts = [prompt for prompt, group in self._rollouts.items() for _ in group]
        empty = np.zeros(0, np.int32)
        arrays = {
            "key_hash_M": self._problem.key_hash_N[np.array(prompts, np.int64)],
            "prompt_length_M": np.array([len(r.prompt_ids) for r in rows], np.int64),
            "completion_length_M": np.array([len(r.completion_ids) for r in rows], np.int64),
            "prompt_ids": np.concatenate([empty, *(r.prompt_ids for r in rows)]),
            "completion_ids": np.concatenate([empty, *(r.completion_ids for r in rows)]),
            "loss_mask": np.concatenate([empty.astype(bool), *(r.own for r in rows)]),
            "rewards_MK": np.array([r.rewards_K for r in rows], np.float32),
        }
        if any(r.step for r in rows):
            arrays["step_M"] = np.array([r.step for r in rows], np.int64)
        if len(rows) > len(self._rollouts) or any(r.advantage for r in rows):
            slots = [slot for group in self._rollouts.values() for slot in range(len(group))]
            arrays["slot_M"] = np.array(slots, np.int64)
            arrays["advantage_M"] = np.array([r.advantage for r in rows], np.float64)
        if any(r.logps is not None for r in rows):
            arrays["logps"] = np.concatenate([_logps(r) for r in rows])
        header = {"schema": _SCHEMA, "kind": "rollout store", "rewards": self._rewards}
        archive.write(path, header, arrays)

    def read(self, path: str | Path) -> list[tuple[int, tuple[StoredRollout, ...]]]:
        """Prompts and rollouts of a file from `save`, oldest first; the store stays as it is.

        Prompts that the dataset does not have are left out. Files of earlier versions are read, too.

        Raises:
            CheckpointError: The file is missing, damaged or not a store.
        """
        header, arrays = archive.read(path)
        if header.get("kind") != "rollout store" or header.get("schema") not in (1, _SCHEMA):
            raise CheckpointError(f"{path} is not a rollout store of this version: {header!r:.80}")
        if header["schema"] == 1:
            arrays["loss_mask"] = np.ones(required(arrays, "completion_ids").size, bool)
        num = required(arrays, "key_hash_M").size
        arrays.setdefault("step_M", np.zeros(num, np.int64))
        arrays.setdefault("slot_M", np.zeros(num, np.int64))
        arrays.setdefault("advantage_M", np.zeros(num, np.float64))
        names: Any = header.get("rewards")
        fault = _misfit(arrays) or self._out_of_range(arrays) or _misnamed(names, arrays["rewards_MK"])
        if fault:
            raise CheckpointError(f"{path} is damaged: {fault}; go back to an earlier checkpoint")
        column_K = self._columns(names)
        if column_K is None and len(arrays["rewards_MK"]):
            warnings.warn(
                f"{path} has rollouts with the rewards {', '.join(names)}, the trainer has "
                f"{', '.join(self._rewards)}: they cannot be scored, so the memory starts empty",
                stacklevel=2,
            )
        return [] if column_K is None else self._rollouts_of(arrays, column_K)

    def _columns(self, names: list[str]) -> list[int] | None:
        """Columns of a file's rewards that belong to the own reward functions; None if one lacks."""
        own = self._rewards
        if names == own:  # also where two functions have the same name
            return list(range(len(own)))
        if len(set(names)) < len(names) or not set(own) <= set(names):
            return None
        return [names.index(name) for name in own]

    def _rollouts_of(
        self, arrays: Arrays, column_K: list[int]
    ) -> list[tuple[int, tuple[StoredRollout, ...]]]:
        # Row by row, and only of prompts in the dataset: a file may name millions of others.
        index = {key: i for i, key in enumerate(self._problem.key_hash_N.tolist())}
        end_M, next_M = (np.cumsum(arrays[f"{name}_length_M"]) for name in ("prompt", "completion"))
        groups: dict[int, list[StoredRollout]] = {}
        for m in np.flatnonzero(np.isin(arrays["key_hash_M"], self._problem.key_hash_N)).tolist():
            prompt = slice(end_M[m] - arrays["prompt_length_M"][m], end_M[m])
            completion = slice(next_M[m] - arrays["completion_length_M"][m], next_M[m])
            mask = arrays["loss_mask"][completion].copy()
            # Copies: a view would keep the tokens of the whole file, whatever the byte limit.
            rollout = StoredRollout(
                arrays["prompt_ids"][prompt].copy(),
                arrays["completion_ids"][completion].copy(),
                arrays["rewards_MK"][m, column_K].copy(),
                None if mask.all() else mask,
                int(arrays["step_M"][m]),
                float(arrays["advantage_M"][m]),
                arrays["logps"][completion].copy() if "logps" in arrays else None,
            )
            groups.setdefault(index[int(arrays["key_hash_M"][m])], []).append(rollout)
        return [(prompt, tuple(group)) for prompt, group in groups.items()]

    def take(self, rollouts: Iterable[tuple[int, tuple[StoredRollout, ...]]]) -> None:
        """Replace the contents by rollouts as `read` returns them."""
        self._rollouts.clear()
        self.nbytes = 0
        for prompt, group in rollouts:
            self.put(prompt, *group)

    def load(self, path: str | Path) -> None:
        """Replace the contents by those of a file; unchanged if `read` raises."""
        self.take(self.read(path))

    def _out_of_range(self, arrays: Arrays) -> str | None:
        """Which values of these arrays no run stores, None if there are none."""
        for name in ("prompt_ids", "completion_ids"):
            ids = arrays[name]
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._vocabulary:
                return f"{name} spans {ids.min()}..{ids.max()}, tokens are 0..{self._vocabulary - 1}"
        rewards_MK = arrays["rewards_MK"]
        if not len(rewards_MK):
            return None
        # A reward function may return None, stored as NaN; for a success at least one returned a number.
        none_MK = np.isnan(rewards_MK)
        if bool(none_MK.all(1).any()) or bool((np.abs(rewards_MK[~none_MK]) > LARGEST).any()):
            return f"a rollout has no reward, or one above {LARGEST:g} in size"
        return None


def _bytes(group: Sequence[StoredRollout]) -> int:
    return sum(rollout.nbytes for rollout in group)


def _logps(rollout: StoredRollout) -> npt.NDArray[np.float32]:
    """The log-probabilities of a rollout, zeros where they are not kept."""
    none = np.zeros(len(rollout.completion_ids), np.float32)
    return none if rollout.logps is None else rollout.logps


def _misnamed(names: Any, rewards_MK: npt.NDArray[np.float32]) -> str | None:
    """What is wrong with a file's names of rewards, None if nothing."""
    if not isinstance(names, list) or not all(isinstance(n, str) for n in cast("list[Any]", names)):
        return f"its rewards are named {names!r:.60}"
    if len(rewards_MK) and len(cast("list[Any]", names)) != rewards_MK.shape[1]:
        return f"it has {rewards_MK.shape[1]} rewards per rollout, named {names!r:.60}"
    return None


def _misfit(arrays: Arrays) -> str | None:
    """Which array has a wrong type or a shape that does not fit the others, None if all fit."""
    given = {name: dtype for name, dtype in _OF_GROUPS.items() if name in arrays}
    for name, dtype in (_DTYPES | given).items():
        array, dims = required(arrays, name), (2 if name.endswith("_MK") else 1)
        # A store without rollouts cannot know K.
        if array.dtype != dtype or (array.ndim != dims and array.shape != (0,)):
            return f"{name} has type {array.dtype} and shape {array.shape}"
    num = len(arrays["key_hash_M"])
    if not _whole(arrays["key_hash_M"], arrays["slot_M"]) or len(arrays["rewards_MK"]) != num:
        return f"it names a prompt twice, or has {len(arrays['rewards_MK'])} rewards for {num} rollouts"
    for name in ("prompt", "completion"):
        length_M, most = arrays[f"{name}_length_M"], len(arrays[f"{name}_ids"])
        # Each is checked against the total first, so that their sum cannot overflow.
        fits = len(length_M) == num and bool(((length_M > 0) & (length_M <= most)).all())
        if not fits or int(length_M.sum()) != most:
            return f"{name}_length_M does not fit {num} prompts and {most} tokens"
    step_M = arrays["step_M"]
    if len(step_M) != num or not bool(((step_M >= 0) & (step_M < _LATEST)).all()):
        return f"step_M does not hold {num} steps of 0 or more"
    advantage_M, logps = arrays["advantage_M"], arrays.get("logps", np.zeros(0, np.float32))
    if len(advantage_M) != num or not bool((np.abs(advantage_M) <= LARGEST).all()):
        return f"advantage_M does not hold {num} finite advantages"
    if "logps" in arrays and len(logps) != len(arrays["completion_ids"]):
        return f"logps has {len(logps)} values for {len(arrays['completion_ids'])} tokens"
    if not bool((np.abs(logps) <= LARGEST).all()):
        return "logps holds values that are no log-probabilities"
    return _unmasked(arrays["loss_mask"], arrays["completion_length_M"])


def _whole(key_M: npt.NDArray[np.uint64], slot_M: npt.NDArray[np.int64]) -> bool:
    """Whether the rollouts of each prompt follow each other, numbered from 0."""
    if len(slot_M) != len(key_M):
        return False
    again_M = np.zeros(len(key_M), bool)
    again_M[1:] = key_M[1:] == key_M[:-1]
    first_M = np.flatnonzero(~again_M)
    wanted_M = np.arange(len(key_M)) - np.repeat(first_M, np.diff(first_M, append=len(key_M)))
    return np.array_equal(slot_M, wanted_M) and len(np.unique(key_M)) == int(np.count_nonzero(~again_M))


def _unmasked(loss_mask: npt.NDArray[np.bool_], length_M: npt.NDArray[np.int64]) -> str | None:
    """What is wrong with the mask of completions of these lengths, None if nothing."""
    if len(loss_mask) != length_M.sum():
        return f"loss_mask has {len(loss_mask)} values for {length_M.sum()} tokens"
    start_M = np.cumsum(length_M) - length_M
    if len(length_M) and not bool(np.logical_or.reduceat(loss_mask, start_M).all()):
        return "the model wrote no token of one completion"
    return None
