"""Rows of a reward log, grouped by prompt and step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdro.common.schema import Fault
from gdro.data.cells import cell, has_cell
from gdro.groups import differ
from gdro.report.diagnose.columns import Columns
from gdro.report.diagnose.values import as_counts, as_key, as_rewards, as_step

_ADVANTAGE = 1e-3  # TRL divides by the deviation + 1e-4: rounding of equal rewards stays below
Key = tuple[str, str]  # the set that a prompt belongs to, or "", and its id
Group = tuple[Key, int, int, int, bool]  # prompt, step, rollouts, right ones, gradient


class Grouping:
    """Rollouts and groups as they are read.

    Args:
        columns: Columns of the log.
        threshold: A rollout is right if its reward is above it.
        num_files: Number of files; without a column of steps, each is a step.
    """

    def __init__(self, columns: Columns, threshold: float, num_files: int) -> None:
        self._columns, self._threshold, self._by_file = columns, threshold, num_files > 1
        self._index: list[dict[Key, int]] = [{} for _ in columns.ids]
        self._steps: dict[Any, int] = {}
        self._groups: dict[str, int] = {}
        # Rollouts: number of the prompt by each column, step, group (or step), reward, advantage.
        self._keys: list[list[int]] = [[] for _ in columns.ids]
        self._step: list[int] = []
        self._group: list[int] = []
        self._reward: list[float] = []
        self._advantage: list[float] = []
        self._whole: list[Group] = []  # groups that are one row
        self._unscored, self._filter, self._filtered = 0, None, 0
        self._range = (float("inf"), float("-inf"))

    def __bool__(self) -> bool:
        return bool(self._reward or self._whole)

    def add(self, row: Mapping[str, Any], file: Path) -> None:
        """Take one row.

        Raises:
            Fault: It has no prompt, or no reward.
        """
        columns = self._columns
        if columns.program == "lm-eval" and self._is_other_filter(row):
            return
        if columns.counts and "n" in row and "successes" in row:
            n, right = as_counts(row["n"], row["successes"])
            gradient = bool(row.get("gradient", 0 < right < n))
            self._add_whole(row, file, n, right, gradient)
            return
        reward = self._reward_of(row)
        if isinstance(reward, list):
            scored = [value for value in reward if value is not None]
            self._unscored += len(reward) - len(scored)
            self._seen(scored)
            right = sum(value > self._threshold for value in scored)
            self._add_whole(row, file, len(scored), right, differ(scored))
        else:
            self._add_rollout(row, file, reward)

    def _is_other_filter(self, row: Mapping[str, Any]) -> bool:
        """Whether a row scores an answer again that another filter of lm-eval took."""
        name = row.get("filter")
        if self._filter is None:
            self._filter = name
        self._filtered += name != self._filter
        return name != self._filter

    def _reward_of(self, row: Mapping[str, Any]) -> list[float | None] | float | None:
        absent = next((name for name in self._columns.rewards if not has_cell(row, name)), None)
        if absent is not None or not self._columns.rewards:
            raise Fault(f"it has {', '.join(map(str, row)) or 'nothing':.200}")
        values = [as_rewards(cell(row, name), name) for name in self._columns.rewards]
        if len(values) == 1:
            return values[0]
        numbers = [value for value in values if not isinstance(value, list)]
        if len(numbers) < len(values):
            raise Fault("several columns of rewards, of which one holds lists; name one")
        known = [value for value in numbers if value is not None]
        return sum(known) if known else None

    def _add_whole(self, row: Mapping[str, Any], file: Path, n: int, right: int, gradient: bool) -> None:
        column = next((name for name in self._columns.ids if has_cell(row, name)), None)
        if column is None:
            raise Fault(f"it has {', '.join(map(str, row)) or 'nothing':.200}")
        key, step = self._key(row, column), self._step_of(row, file)
        if n:
            self._whole.append((key, step, n, right, gradient))

    def _add_rollout(self, row: Mapping[str, Any], file: Path, reward: float | None) -> None:
        keys = [self._number(row, place) for place in range(len(self._index))]
        if all(key < 0 for key in keys):
            raise Fault(f"it has no prompt in {', '.join(self._columns.ids)}")
        step = self._step_of(row, file)
        if reward is None:
            self._unscored += 1
            return
        self._seen([reward])
        for column, key in zip(self._keys, keys, strict=True):
            column.append(key)
        self._step.append(step)
        self._group.append(self._group_of(row, step))
        self._reward.append(reward)
        if self._columns.advantage:
            advantage = as_rewards(row.get("advantage"), "advantage")
            self._advantage.append(advantage if isinstance(advantage, float) else 0.0)

    def _number(self, row: Mapping[str, Any], place: int) -> int:
        """Number of the prompt by one of the columns, -1 if the row has none there."""
        try:
            key = self._key(row, self._columns.ids[place])
        except Fault:
            return -1
        return self._index[place].setdefault(key, len(self._index[place]))

    def _key(self, row: Mapping[str, Any], column: str) -> Key:
        part = self._columns.part
        within = row.get(part) if part and part != column else None
        return (str(within) if isinstance(within, str | int) else "", as_key(cell(row, column)))

    def _step_of(self, row: Mapping[str, Any], file: Path) -> int:
        name = self._columns.step
        step = as_step(cell(row, name)) if name else str(file) if self._by_file else None
        return self._steps.setdefault(step, len(self._steps))

    def _group_of(self, row: Mapping[str, Any], step: int) -> int:
        """Number of the group that a row names, below zero; otherwise its step's."""
        name = self._columns.group
        if name is None or cell(row, name) is None:
            return step
        return ~self._groups.setdefault(as_key(cell(row, name)), len(self._groups))

    def _seen(self, rewards: list[float]) -> None:
        low, high = self._range
        self._range = min([low, *rewards]), max([high, *rewards])

    def groups(self) -> tuple[list[Group], str]:
        """All groups, and the column that names the prompts of rollouts.

        Raises:
            Fault: No column names the prompt of every rollout.
        """
        if not self._reward:
            return self._whole, next(iter(self._columns.ids), "")
        place = self._best()
        names = list(self._index[place])
        rows_by_group: dict[tuple[int, int], list[int]] = {}
        for row, group in enumerate(zip(self._keys[place], self._group, strict=True)):
            rows_by_group.setdefault(group, []).append(row)
        groups = [
            (names[key], self._step[rows[0]], *self._counts(rows))
            for (key, _), rows in rows_by_group.items()
        ]
        return [*self._whole, *groups], self._columns.ids[place]

    def _best(self) -> int:
        """The first column under which several rollouts have the same of several prompts."""
        complete = [place for place, keys in enumerate(self._keys) if min(keys) >= 0]
        if not complete:
            raise Fault(f"none of {', '.join(self._columns.ids)} names the prompt of every rollout")
        sizes = {place: len(set(self._keys[place])) for place in complete}
        repeats = [place for place, size in sizes.items() if size < len(self._reward)]
        several = [place for place in repeats if sizes[place] > 1]
        return (several or repeats or complete)[0]

    def _counts(self, rows: list[int]) -> tuple[int, int, bool]:
        rewards = [self._reward[row] for row in rows]
        right = sum(reward > self._threshold for reward in rewards)
        if self._advantage:
            return len(rows), right, any(abs(self._advantage[row]) > _ADVANTAGE for row in rows)
        return len(rows), right, differ(rewards)

    def notes(self, groups: list[Group], column: str) -> list[str]:
        """What a reader should know of how the rows were read, a sentence each."""
        columns, notes = self._columns, list[str]()
        low, high = self._range
        if self._reward:
            reward = " + ".join(map(repr, columns.rewards))
            steps = f" and {columns.step!r}" if columns.step else " and file" if self._by_file else ""
            steps = f" and {columns.group!r}" if self._groups else steps
            notes.append(f"Rows are rollouts, grouped by {column!r}{steps}; the reward is {reward}.")
            if not steps:
                notes.append("There are no steps: all rollouts of a prompt count as one group.")
            if len(self._reward) > 1 and max(group[2] for group in groups) == 1:
                notes.append(
                    "Every group has one rollout, so none has a gradient. If prompts repeat under "
                    "another column, name it with --id."
                )
        if self._unscored:
            notes.append(f"{self._unscored:,} rollouts without a reward were left out.")
        if self._filtered:
            notes.append(
                f"{self._filtered:,} rows of other filters than {self._filter!r:.40} were left out: "
                "they score the same answers again."
            )
        if low <= high and (high <= self._threshold or low > self._threshold):
            which = "No" if high <= self._threshold else "Every"
            notes.append(
                f"{which} reward is above {self._threshold:g} (they lie from {low:g} to {high:g}): say "
                "with --right-above what counts as right."
            )
        return notes
