"""Rollout groups of a run as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gdro.errors import GdroError
from gdro.numerics.arrays import FloatArray, IntArray


class ReportError(GdroError):
    """A folder holds no run log that can be drawn."""


@dataclass(frozen=True, eq=False)
class Visits:
    """V rollout groups, oldest first, of K distinct prompts.

    Attributes:
        keys: Keys of the prompts, K.
        prompt_V: Index into `keys`, shape (V,).
        step_V: Step, shape (V,).
        bin_V: Bin when planned, -1 unseen, shape (V,).
        n_V: Judged rollouts: those that are right or wrong; groups without one are left out, shape (V,).
        successes_V: Right ones, shape (V,).
        predicted_V: Pass rate expected before the visit, shape (V,).
    """

    keys: list[str]
    prompt_V: IntArray
    step_V: IntArray
    bin_V: IntArray
    n_V: IntArray
    successes_V: IntArray
    predicted_V: FloatArray

    @cached_property
    def visits_K(self) -> IntArray:
        """Visits of each prompt, shape (K,)."""
        return np.bincount(self.prompt_V, minlength=len(self.keys))

    @cached_property
    def rollouts_K(self) -> IntArray:
        """Judged rollouts of each prompt, shape (K,)."""
        return self._total(self.n_V)

    @cached_property
    def successes_K(self) -> IntArray:
        """Right rollouts of each prompt, shape (K,)."""
        return self._total(self.successes_V)

    @cached_property
    def by_prompt_V(self) -> IntArray:
        """Order that puts each prompt's visits together, oldest first, shape (V,)."""
        return np.argsort(self.prompt_V, kind="stable")

    def first_step_K(self, chosen_V: Any) -> IntArray:
        """Step of each prompt's first visit in a selection; a large number without one, shape (K,)."""
        first_K = np.full(len(self.keys), np.iinfo(np.int64).max)
        np.minimum.at(first_K, self.prompt_V[chosen_V], self.step_V[chosen_V])
        return first_K

    def _total(self, value_V: IntArray) -> IntArray:
        return np.bincount(self.prompt_V, value_V, len(self.keys)).astype(np.int64)


def visits_of(records: Iterable[Mapping[str, Any]], place: Mapping[int, int]) -> Visits:
    """Visits of checked lines of `groups.jsonl`, given the step of each ticket.

    Groups of other tickets (a step cut off by a kill) are left out.
    """
    index: dict[str, int] = {}
    rows: list[tuple[int, int, int, int, int, float]] = []
    for r in records:
        step = place.get(r["ticket"])
        if step is not None and r["n"]:
            prompt = index.setdefault(r["key"], len(index))
            counts = r["bin"], r["n"], r["successes"]
            rows.append((prompt, step, *counts, r["predicted"]))
    table = np.array(rows, np.float64).reshape(-1, 6)
    table = table[np.argsort(table[:, 1], kind="stable")]
    prompt, step, bin, n, successes = (table[:, i].astype(np.int64) for i in range(5))
    return Visits(list(index), prompt, step, bin, n, successes, table[:, 5])
