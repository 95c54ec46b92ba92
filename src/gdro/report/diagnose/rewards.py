"""Reward logs of other programs, and the `groups.jsonl` of gdro."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from gdro.common.schema import LARGEST, Fault, is_count, is_number
from gdro.groups import differ
from gdro.log.run_log import read_jsonl
from gdro.log.schema import LONGEST_KEY, MOST_ROLLOUTS
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.report.load import ReportError


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

    A line is a rollout group, whose `step` is optional; rewards of null are left out. A rollout is right
    if its reward is above the threshold.

    Raises:
        ReportError: The file is missing or empty, or a line has neither form.
        LogError: A line is damaged.
    """
    if not path.is_file():
        raise ReportError(f"{path} is not a file; pass a JSONL file of prompt_id and rewards")
    index: dict[str, int] = {}
    steps: dict[Any, int] = {}
    rows: list[tuple[int, int, int, int, bool]] = []
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            key, step, n, right, gradient = _group(record, threshold)
        except (KeyError, Fault) as error:
            lacking = isinstance(error, KeyError)
            got = f"it has {', '.join(record) or 'nothing':.200}" if lacking else error
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
        rewards = [float(r) for r in _rewards(record["rewards"]) if r is not None]
        right = sum(reward > threshold for reward in rewards)
        key, step = _id(record["prompt_id"]), _step(record.get("step"))
        return key, step, len(rewards), right, differ(rewards)
    n, right = record["n"], record["successes"]
    if not is_count(n, MOST_ROLLOUTS):
        raise Fault(f"n is {n!r:.40}; it must be a whole number, 0 to {MOST_ROLLOUTS}")
    if not is_count(right, n):
        raise Fault(f"{right!r:.40} successes of {n}; there must be a whole number, 0 to n")
    gradient = bool(record.get("gradient", 0 < right < n))
    return _id(record["key"]), _step(record.get("ticket")), n, right, gradient


def _rewards(rewards: Any) -> list[Any]:
    if not isinstance(rewards, list):
        raise Fault(f"rewards is {rewards!r:.40}, not a list")
    given = cast("list[Any]", rewards)
    bad = next((r for r in given if not (r is None or isinstance(r, bool) or is_number(r))), None)
    if bad is not None or len(given) > MOST_ROLLOUTS:
        what = f"{len(given):,} rewards" if bad is None else f"a reward is {bad!r:.40}"
        raise Fault(f"{what}; at most {MOST_ROLLOUTS} finite numbers up to {LARGEST:g}")
    return given


def _id(key: Any) -> str:
    if not isinstance(key, str | int) or not 0 < len(str(key)) <= LONGEST_KEY:
        raise Fault(f"an id is {key!r:.40}; a text of 1 to {LONGEST_KEY} characters, or an integer")
    return str(key)


def _step(step: Any) -> Any:
    if not (step is None or isinstance(step, str | int | float)):
        raise Fault(f"a step is {step!r:.40}; a number or a text")
    return step
