"""The rule for right rollouts without `correct=`, learned where there are several reward functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import parsed, write_json
from gdro.errors import CheckpointError
from gdro.integrations.trl.columns import columns_read
from gdro.integrations.trl.correct import Judge, Named, Rewards, Scores, Verdicts

RULE_FILE = "gdro_correct.json"
_PARTIAL = 3  # a function with this many values gives partial credit
_LOOK = 64  # rewards after which a function with two values keeps them


@dataclass(frozen=True)
class Largest(Judge):
    """A row is right if its total reward is the largest that the functions which scored it can give.

    Attributes:
        names: Names of the K functions.
        largest_K: The largest reward of each, times its weight, shape (K,).
    """

    names: tuple[str, ...]
    largest_K: Rewards

    @property
    def text(self) -> str:
        return f"the largest total reward ({float(self.largest_K.sum()):g} of all functions together)"

    def judge(self, scores: Scores) -> Verdicts:
        known_R = ~np.isnan(scores.total_R)
        most_R = np.where(np.isnan(scores.each_RK), 0.0, self.largest_K).sum(axis=1)
        reached_R = scores.total_R >= most_R - 1e-5 * np.maximum(1.0, np.abs(most_R))
        return Verdicts(known_R & reached_R, known_R, scores.total_R)

    def hint(self, middle: float) -> str:
        return f"correct=('total', {middle:.3g}), or the name of one of {', '.join(self.names)}"


class Upper(Judge):
    """A row is right if every function that reads a column and takes two values gives its upper one.

    A check of the format reads the completion alone, a check of the answer reads the answer too; if no
    function reads a column, all count. A function that gives more than two values (partial credit) in
    its first 64 rewards is left out from then on. If none is left, the row is right if the sum of the
    functions is above the middle of its range in that step.
    """

    def __init__(
        self, names: Sequence[str], weights: Sequence[float], reads: Sequence[Sequence[str]]
    ) -> None:
        self.names = tuple(names)
        self._weights = np.array(weights, np.float32)
        wanted = [k for k, weight in enumerate(weights) if weight > 0] or list(range(len(names)))
        self.columns = [k for k in wanted if reads[k]] or wanted
        self._reads = list(dict.fromkeys(column for k in self.columns for column in reads[k]))
        # Up to two values that each function gave; None: it gives partial credit.
        self._values: dict[int, list[float] | None] = {k: [] for k in self.columns}
        self._counts = dict.fromkeys(self.columns, 0)
        self._middle: float | None = None

    @property
    def text(self) -> str:
        if self._middle is not None:
            what = " + ".join(repr(self.names[k]) for k in self.columns)
            return f"{what} above {self._middle:.3g}, the middle of what it was"
        used = [self.names[k] for k in self.columns if self._values[k] is not None]
        each = "each at its upper value" if len(used) > 1 else "at its upper value"
        columns = ", ".join(map(repr, self._reads))
        why = f", which {'read' if len(used) > 1 else 'reads'} {columns}" if columns else ""
        return f"reward{'s' * (len(used) > 1)} {' and '.join(map(repr, used))}{why}, {each}"

    def judge(self, scores: Scores) -> Verdicts:
        mine_RK = scores.each_RK[:, self.columns]
        if self._middle is not None:
            value_R, known_R = self._sum(mine_RK), np.any(~np.isnan(mine_RK), axis=1)
            return Verdicts(known_R & (value_R > self._middle), known_R, value_R)
        least_K = np.array([self._least(k) for k in self.columns], np.float32)
        known_RK = ~np.isnan(mine_RK) & ~np.isnan(least_K)
        known_R = np.any(known_RK, axis=1)
        correct_R = known_R & np.all((mine_RK > least_K) | ~known_RK, axis=1)
        return Verdicts(correct_R, known_R, self._sum(np.where(known_RK, mine_RK, np.nan)))

    def hint(self, middle: float) -> str:
        return f"correct= the name of one of {', '.join(self.names)}, or ('total', THRESHOLD)"

    def save(self, folder: Path) -> None:
        state = {
            "names": [self.names[k] for k in self.columns],
            "values": [self._values[k] for k in self.columns],
            "counts": [self._counts[k] for k in self.columns],
            "middle": self._middle,
        }
        write_json(folder / RULE_FILE, state)

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote; if there is no file, or other functions, nothing is restored.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = folder / RULE_FILE
        if not path.exists():
            return
        try:
            names, values, counts, middle = _state(path)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path} is damaged ({error!r}); delete it to start anew") from error
        if names == [self.names[k] for k in self.columns]:
            self._values = dict(zip(self.columns, values, strict=True))
            self._counts, self._middle = dict(zip(self.columns, counts, strict=True)), middle

    def see(self, scores: Scores) -> None:
        """Learn which functions give partial credit."""
        for k in self.columns:
            seen = self._values[k]
            if seen is None or (len(seen) == _PARTIAL - 1 and self._counts[k] >= _LOOK):
                continue
            known_R = scores.each_RK[:, k]
            known_R = known_R[~np.isnan(known_R)]
            values = np.unique(np.concatenate([np.array(seen, np.float32), known_R]))
            self._values[k] = values.tolist() if len(values) < _PARTIAL else None
            self._counts[k] += len(known_R)
        if self._middle is None and all(values is None for values in self._values.values()):
            sum_R = self._sum(scores.each_RK[:, self.columns])
            self._middle = float(np.nanmin(sum_R) + np.nanmax(sum_R)) / 2

    def _least(self, k: int) -> float:
        """The threshold of a function: zero before it gave two values, NaN if it is left out."""
        values = self._values[k]
        if values is None:
            return np.nan
        return sum(values) / 2 if len(values) == _PARTIAL - 1 else 0.0

    def _sum(self, reward_RK: Rewards) -> Rewards:
        sum_R = np.nansum(reward_RK * self._weights[self.columns], axis=1)
        return np.where(np.isnan(reward_RK).all(axis=1), np.nan, sum_R).astype(np.float32)


def _state(path: Path) -> tuple[list[str], list[list[float] | None], list[int], float | None]:
    """Contents of a file of `Upper.save`; ValueError, KeyError or TypeError if it is damaged."""
    state: dict[str, Any] = parsed(path.read_bytes())
    middle = None if state["middle"] is None else float(state["middle"])
    values = [None if seen is None else [float(v) for v in seen] for seen in state["values"]]
    numbers = [*(v for seen in values if seen for v in seen), 0.0 if middle is None else middle]
    if not all(map(isfinite, numbers)) or any(seen and len(seen) >= _PARTIAL for seen in values):
        raise ValueError("its numbers are out of range")
    counts = [int(count) for count in state["counts"]]
    if not len(values) == len(counts) == len(state["names"]):
        raise ValueError("its lists have different lengths")
    return list(state["names"]), values, counts, middle


def rule(
    names: Sequence[str],
    functions: Sequence[Any],
    weights: Sequence[float],
    columns: Sequence[str],
    checks: Sequence[int] = (),
) -> Judge:
    """The judge of a trainer without `correct=`.

    A single function is right above .5; several are `Largest` if each has an attribute `largest`, the
    largest reward that it can give, and `Upper` otherwise. Functions among `checks`, by index, are
    checks of the work and judge no answer, unless there is nothing else.
    """
    judges = [k for k in range(len(names)) if k not in checks] or list(range(len(names)))
    if len(judges) == 1:
        return Named((names[judges[0]],), (judges[0],), (0.5,))
    if len(judges) < len(names):
        weights = [weight if k in judges else 0.0 for k, weight in enumerate(weights)]
        return Upper(names, weights, [columns_read(function, columns) for function in functions])
    largest = [getattr(function, "largest", None) for function in functions]
    if all(isinstance(most, int | float) for most in largest) and min(weights) >= 0:
        product_K = np.array(largest, np.float32) * np.array(weights, np.float32)
        return Largest(tuple(names), product_K)
    return Upper(names, weights, [columns_read(function, columns) for function in functions])
