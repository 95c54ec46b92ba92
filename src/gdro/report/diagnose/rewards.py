"""Reward logs that gdro did not make, and our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gdro.groups import differ
from gdro.report.load import ReportError
from gdro.runlog import read_jsonl
from gdro.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class RewardLog:
    """V rollout groups of K prompts.

    Attributes:
        keys: Ids of the prompts, K.
        prompt_V: Index into `keys`, shape (V,).
        n_V: Scored rollouts of each group, shape (V,).
        successes_V: Right ones, shape (V,).
        step_V: Number of each group's step, from zero; all zero where the log has none, shape (V,).
        gradient_V: 1 where the group's rewards differ; where the log has no rewards, where it has both
            right and wrong rollouts, shape (V,).
    """

    keys: list[str]
    prompt_V: IntArray
    n_V: IntArray
    successes_V: IntArray
    step_V: IntArray
    gradient_V: IntArray

    @cached_property
    def trials_K(self) -> IntArray:
        """Rollouts of each prompt, shape (K,)."""
        return np.bincount(self.prompt_V, self.n_V, len(self.keys)).astype(np.int64)

    @cached_property
    def right_K(self) -> IntArray:
        """Right rollouts of each prompt, shape (K,)."""
        return np.bincount(self.prompt_V, self.successes_V, len(self.keys)).astype(np.int64)

    @property
    def rate_K(self) -> FloatArray:
        """Measured pass rate of each prompt, shape (K,)."""
        return self.right_K / self.trials_K

    @property
    def rollouts(self) -> int:
        """All rollouts."""
        return int(self.n_V.sum())


def read_rewards(path: Path, threshold: float = 0.5) -> RewardLog:
    """Read a JSONL file of `{"prompt_id": ..., "rewards": [...]}` lines, or a `groups.jsonl`.

    Args:
        path: The file. A line is a rollout group; `step` is optional; rewards of null are left out.
        threshold: A rollout is right if its reward is above it.

    Returns:
        The groups.

    Raises:
        ReportError: The file is missing or empty, or a line has neither form.
        LogError: A line is damaged.
    """
    if not path.is_file():
        raise ReportError(f"{path} is no file; pass a JSONL file of prompt_id and rewards")
    index: dict[str, int] = {}
    steps: dict[Any, int] = {}
    rows: list[tuple[int, int, int, int, bool]] = []
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            key, step, n, right, gradient = _group(record, threshold)
        except (KeyError, TypeError, ValueError) as error:
            got = f"it has {', '.join(record) or 'nothing'}" if isinstance(error, KeyError) else error
            raise ReportError(
                f"{path}, line {number}: needs prompt_id and rewards (numbers), or key, n and successes "
                f"as in groups.jsonl ({got})"
            ) from error
        if n:
            place = index.setdefault(key, len(index))
            rows.append((place, n, right, steps.setdefault(step, len(steps)), gradient))
    if not rows:
        raise ReportError(f"{path} holds no scored rollout")
    return RewardLog(list(index), *np.array(rows, np.int64).T)


def _group(record: Mapping[str, Any], threshold: float) -> tuple[str, Any, int, int, bool]:
    """Key, step, rollouts, right ones, and whether there is a gradient, of a line."""
    if "rewards" in record:
        rewards = [float(r) for r in record["rewards"] if r is not None]
        right = sum(reward > threshold for reward in rewards)
        return str(record["prompt_id"]), record.get("step"), len(rewards), right, differ(rewards)
    n, right = int(record["n"]), int(record["successes"])
    if not 0 <= right <= n:
        raise ValueError(f"{right} successes of {n}")
    gradient = bool(record.get("gradient", 0 < right < n))
    return str(record["key"]), record.get("ticket"), n, right, gradient
