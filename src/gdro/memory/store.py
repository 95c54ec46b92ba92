"""The tokens behind a memory: the latest success of each prompt, bounded and saved."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
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

_SCHEMA = 1
_DTYPES = {
    "key_hash_M": np.uint64, "prompt_length_M": np.int64, "completion_length_M": np.int64,
    "prompt_ids": np.int32, "completion_ids": np.int32, "rewards_MK": np.float32,
}  # fmt: skip


@dataclass(frozen=True)
class StoredRollout:
    """One rollout; arrays are int32, for a vocabulary never needs more.

    Attributes:
        prompt_ids: Tokens of the prompt as it was given to the model, no padding.
        completion_ids: Tokens of the answer.
        rewards_K: What each of the K reward functions gave it.
    """

    prompt_ids: npt.NDArray[np.int32]
    completion_ids: npt.NDArray[np.int32]
    rewards_K: npt.NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.prompt_ids.nbytes + self.completion_ids.nbytes + self.rewards_K.nbytes


class RolloutStore:
    """The latest rollout kept for each prompt; the oldest go when the bytes run out.

    Args:
        problem: The pool, whose keys identify prompts across runs.
        max_bytes: Most bytes of tokens and rewards.
        vocabulary: Tokens that the model has; a file with others is refused.
        rewards: Names of the K reward functions. A file's rewards follow the names; where one of these
            is missing in it, its rollouts cannot be scored and are left out.

    Raises:
        StrategyError: `max_bytes` is not positive.
    """

    def __init__(
        self,
        problem: Problem,
        max_bytes: int,
        vocabulary: int | None = None,
        rewards: Sequence[str] | None = None,
    ) -> None:
        if max_bytes < 1:
            raise StrategyError(
                f"memory_bytes is {max_bytes!r}; allowed: 1 or more (1,000 tokens take 4 kB)"
            )
        self._problem = problem
        self._max_bytes = max_bytes
        self._vocabulary = 2**31 if vocabulary is None else vocabulary
        self._rewards = None if rewards is None else list(rewards)
        self._rollouts: OrderedDict[int, StoredRollout] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._rollouts)

    def __contains__(self, prompt: object) -> bool:
        return prompt in self._rollouts

    def __getitem__(self, prompt: int) -> StoredRollout:
        return self._rollouts[prompt]

    def put(self, prompt: int, rollout: StoredRollout) -> None:
        """Store a rollout in the place of an earlier one, and make room."""
        earlier = self._rollouts.pop(prompt, None)
        self.nbytes += rollout.nbytes - (0 if earlier is None else earlier.nbytes)
        self._rollouts[prompt] = rollout
        while self.nbytes > self._max_bytes:
            _, dropped = self._rollouts.popitem(last=False)
            self.nbytes -= dropped.nbytes

    def save(self, path: str | Path) -> None:
        """Write the store to one file, atomically."""
        rows = list(self._rollouts.values())
        empty = np.zeros(0, np.int32)
        arrays = {
            "key_hash_M": self._problem.key_hash_N[np.array(list(self._rollouts), np.int64)],
            "prompt_length_M": np.array([len(r.prompt_ids) for r in rows], np.int64),
            "completion_length_M": np.array([len(r.completion_ids) for r in rows], np.int64),
            "prompt_ids": np.concatenate([empty, *(r.prompt_ids for r in rows)]),
            "completion_ids": np.concatenate([empty, *(r.completion_ids for r in rows)]),
            "rewards_MK": np.array([r.rewards_K for r in rows], np.float32),
        }
        named = {} if self._rewards is None else {"rewards": self._rewards}
        archive.write(path, {"schema": _SCHEMA, "kind": "rollout store", **named}, arrays)

    def read(self, path: str | Path) -> list[tuple[int, StoredRollout]]:
        """The rollouts of a file, all of it checked; the store stays as it is.

        Args:
            path: A file from `save`.

        Returns:
            Prompt and rollout, oldest first; prompts that the pool does not have are left out.

        Raises:
            CheckpointError: The file is missing, damaged, not a store, or holds what no run stores.
        """
        header, arrays = archive.read(path)
        if (header.get("schema"), header.get("kind")) != (_SCHEMA, "rollout store"):
            raise CheckpointError(f"{path} is no rollout store of this version, but {header!r:.80}")
        names = header.get("rewards")
        bad = _misfit(arrays) or self._strange(arrays) or _misnamed(names, arrays["rewards_MK"])
        if bad:
            raise CheckpointError(f"{path} is damaged: {bad}; go back to an earlier checkpoint")
        column_K = self._columns(names, arrays["rewards_MK"])
        if column_K is None:
            warnings.warn(
                f"{path} remembers rollouts with the rewards {_named(names, arrays['rewards_MK'])}, the "
                f"trainer has {', '.join(self._rewards or [])}: they cannot be scored, so the memory "
                "starts empty",
                stacklevel=2,
            )
            return []
        # Row by row, and of prompts that the pool has alone: a file may name millions of others.
        index = {key: i for i, key in enumerate(self._problem.key_hash_N.tolist())}
        known_M = np.flatnonzero(np.isin(arrays["key_hash_M"], self._problem.key_hash_N))
        names_of = ("prompt", "completion")
        end_M = {name: np.cumsum(arrays[f"{name}_length_M"]) for name in names_of}
        found: list[tuple[int, StoredRollout]] = []
        for m in known_M.tolist():
            # Copies: a view would keep the whole file's tokens, whatever the limit of bytes.
            prompt_ids, completion_ids = (
                arrays[f"{name}_ids"][end - arrays[f"{name}_length_M"][m] : end].copy()
                for name in names_of
                for end in [end_M[name][m]]
            )
            rewards_K = arrays["rewards_MK"][m, column_K].copy()
            found.append(
                (
                    index[int(arrays["key_hash_M"][m])],
                    StoredRollout(prompt_ids, completion_ids, rewards_K),
                )
            )
        return found

    def take(self, rollouts: Iterable[tuple[int, StoredRollout]]) -> None:
        """Hold these rollouts, as `read` gave them, and no others."""
        self._rollouts.clear()
        self.nbytes = 0
        for prompt, rollout in rollouts:
            self.put(prompt, rollout)

    def load(self, path: str | Path) -> None:
        """Take over the store of a file. Errors as for `read`; the store is then as it was."""
        self.take(self.read(path))

    def _columns(
        self, names: list[str] | None, rewards_MK: npt.NDArray[np.float32]
    ) -> list[int] | slice | None:
        """Where a file has the rewards of today's functions; None if it lacks one."""
        own = self._rewards
        if own is None or not len(rewards_MK) or names == own:
            return slice(None)
        if names is None:
            return slice(None) if rewards_MK.shape[1] == len(own) else None
        if len(set(names)) < len(names) or not set(own) <= set(names):
            return None
        return [names.index(name) for name in own]

    def _strange(self, arrays: Arrays) -> str | None:
        """What in these arrays no run stores, None if nothing."""
        for name in ("prompt_ids", "completion_ids"):
            ids = arrays[name]
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self._vocabulary:
                return f"{name} spans {ids.min()}..{ids.max()}, tokens are 0..{self._vocabulary - 1}"
        rewards_MK = arrays["rewards_MK"]
        if not len(rewards_MK):
            return None
        # A reward function may give None, and NaN stands for it; of a success, one has given a number.
        none_MK = np.isnan(rewards_MK)
        if bool(none_MK.all(1).any()) or bool((np.abs(rewards_MK[~none_MK]) > LARGEST).any()):
            return f"a rollout has no reward, or one above {LARGEST:g} in size"
        return None


def _misnamed(names: Any, rewards_MK: npt.NDArray[np.float32]) -> str | None:
    """What is wrong with a file's names of rewards, None if nothing; earlier versions kept none."""
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in cast("list[Any]", names)):
        return f"its rewards are called {names!r:.60}"
    if len(rewards_MK) and len(cast("list[Any]", names)) != rewards_MK.shape[1]:
        return f"it has {rewards_MK.shape[1]} rewards a rollout, called {names!r:.60}"
    return None


def _named(names: list[str] | None, rewards_MK: npt.NDArray[np.float32]) -> str:
    return f"of {rewards_MK.shape[1]} functions" if names is None else ", ".join(names)


def _misfit(arrays: Arrays) -> str | None:
    """Which array has another type or shape than the others need, None if all fit."""
    for name, dtype in _DTYPES.items():
        array, dims = required(arrays, name), (2 if name.endswith("_MK") else 1)
        # A store without rollouts cannot know K.
        if array.dtype != dtype or (array.ndim != dims and array.shape != (0,)):
            return f"{name} has type {array.dtype} and shape {array.shape}"
    num = len(arrays["key_hash_M"])
    if len(np.unique(arrays["key_hash_M"])) < num or len(arrays["rewards_MK"]) != num:
        return f"it names a prompt twice, or has {len(arrays['rewards_MK'])} rewards for {num} prompts"
    for name in ("prompt", "completion"):
        length_M, most = arrays[f"{name}_length_M"], len(arrays[f"{name}_ids"])
        # Each below the total first, so that their sum cannot overflow.
        fits = len(length_M) == num and bool(((length_M > 0) & (length_M <= most)).all())
        if not fits or int(length_M.sum()) != most:
            return f"{name}_length_M does not fit {num} prompts and {most} tokens"
    return None
