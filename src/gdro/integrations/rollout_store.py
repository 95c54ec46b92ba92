"""The tokens behind a memory: the latest success of each prompt, bounded and saved."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdro import checkpoint
from gdro.codec import required
from gdro.errors import CheckpointError, StrategyError
from gdro.types import IntArray, Problem

_SCHEMA = 1


@dataclass(frozen=True)
class StoredRollout:
    """One rollout; arrays are int32, for a vocabulary never needs more.

    Attributes:
        prompt_ids: Tokens of the prompt as it was given to the model, no padding.
        completion_ids: Tokens of the answer.
        rewards_K: What each of the K reward functions gave it.
    """

    prompt_ids: IntArray
    completion_ids: IntArray
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

    Raises:
        StrategyError: `max_bytes` is not positive.
    """

    def __init__(self, problem: Problem, max_bytes: int) -> None:
        if max_bytes < 1:
            raise StrategyError(
                f"memory_bytes is {max_bytes!r}; allowed: 1 or more (1,000 tokens take 4 kB)"
            )
        self._problem = problem
        self._max_bytes = max_bytes
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
        checkpoint.write(path, {"schema": _SCHEMA, "kind": "rollout store"}, arrays)

    def load(self, path: str | Path) -> None:
        """Take over the store of a file; prompts that the pool does not have are left out.

        Raises:
            CheckpointError: The file is missing, damaged, or not a store.
        """
        header, arrays = checkpoint.read(path)
        if (header.get("schema"), header.get("kind")) != (_SCHEMA, "rollout store"):
            raise CheckpointError(f"{path} is no rollout store of this version, but {header!r:.80}")
        get = {name: required(arrays, name) for name in _ARRAYS}
        num = len(get["key_hash_M"])
        lengths = (get["prompt_length_M"], get["completion_length_M"])
        tokens = (get["prompt_ids"], get["completion_ids"])
        fits = all(
            length.shape == (num,) and bool((length >= 0).all()) and int(length.sum()) == len(ids)
            for length, ids in zip(lengths, tokens, strict=True)
        )
        if not fits or len(get["rewards_MK"]) != num:
            raise CheckpointError(f"{path} is damaged: its arrays do not fit each other")
        index = {key: i for i, key in enumerate(self._problem.key_hash_N.tolist())}
        prompts, answers = (
            np.split(ids, np.cumsum(length)[:-1]) for ids, length in zip(tokens, lengths, strict=True)
        )
        self._rollouts.clear()
        self.nbytes = 0
        for m, key in enumerate(get["key_hash_M"].tolist()):
            if key in index:
                rollout = StoredRollout(prompts[m], answers[m], get["rewards_MK"][m])
                self.put(index[key], rollout)


_ARRAYS = (
    "key_hash_M", "prompt_length_M", "completion_length_M", "prompt_ids", "completion_ids",
    "rewards_MK",
)  # fmt: skip
