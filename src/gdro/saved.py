"""Saving a controller's whole state, and taking it over again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from gdro import checkpoint
from gdro.belief import Belief
from gdro.categories import categories
from gdro.codec import Arrays, decode, encode, required
from gdro.difficulty import Difficulty, DifficultyTracker, restored_tracker
from gdro.errors import CheckpointError
from gdro.groups import Groups
from gdro.ledger import Ledger
from gdro.pending import InFlight, Pending
from gdro.pool import KeyMatch, match_keys
from gdro.runlog import RunLog
from gdro.strategy import Strategy
from gdro.types import Problem


class Saved:
    """The part of `Controller` that reads and writes checkpoints."""

    strategy: Strategy[Any]
    problem: Problem
    difficulty: Difficulty
    log: RunLog | None
    ledger: Ledger
    belief: Belief
    _tracker: DifficultyTracker
    _state: Any
    _plans: InFlight
    _identity: dict[str, Any]
    _metrics: dict[str, float]
    _by_bin: dict[str, list[float | None]]
    _last: tuple[Groups, Pending] | None

    def abandon(self, ticket: int) -> None:
        """Close a plan that will never have an outcome.

        Args:
            ticket: An open ticket.

        Raises:
            TicketError: The ticket is unknown or closed.
        """
        plan = self._plans.get(ticket).plan
        self._plans.close(ticket)
        self.ledger.abandoned += 1
        self.ledger.missing += int(plan.rollouts_P.sum())

    def _closed_metrics(self) -> dict[str, float]:
        raise NotImplementedError

    def digest(self) -> str:
        """A hash of the whole state, equal on ranks that agree."""
        return checkpoint.digest(*self._snapshot())

    def state_dict(self) -> dict[str, Any]:
        """The whole state: `header` (JSON data) and `arrays` (copies, by name)."""
        header, arrays = self._snapshot()
        arrays["key_hash_N"] = self.problem.key_hash_N
        return {"header": header, "arrays": {k: v.copy() for k, v in arrays.items()}}

    def save(self, path: str | Path) -> None:
        """Write the whole state to one file, atomically; the run log is on disk before it.

        Raises:
            CheckpointError: The disk is full, or the folder cannot be written; the file that stood there
                is intact.
        """
        header, arrays = self._snapshot()
        if self.log is not None:
            self.log.sync()
        checkpoint.write(path, header, {**arrays, "key_hash_N": self.problem.key_hash_N})

    def load(self, path: str | Path, keys: Literal["exact", "match"] = "exact") -> KeyMatch:
        """Take over the state of a file, and rewind the run log to it.

        Args:
            path: A file from `save`.
            keys: `exact` demands the same pool in the same order; `match` follows the keys into a
                changed pool (new prompts start unseen, plans in flight are abandoned). Where bins are of
                a column, `match` follows the names of its categories too: what was learned of a bin
                stays with its category, new ones start fresh, and prompts move to today's.

        Returns:
            How many keys matched, were added and were removed.

        Raises:
            CheckpointError: The file is damaged or belongs to another strategy, schema or pool.
            LogError: The run log is damaged or cannot be written.
        """
        return self._restore(*checkpoint.read(path), keys)

    def load_state_dict(
        self, state: Mapping[str, Any], keys: Literal["exact", "match"] = "exact"
    ) -> KeyMatch:
        """Take over a state from `state_dict`. Arguments, result and errors as for `load`."""
        header, arrays = state.get("header"), state.get("arrays")
        if not isinstance(header, Mapping) or not isinstance(arrays, Mapping):
            raise CheckpointError(
                f"a state with {sorted(map(str, state))}; it needs `header` and `arrays`, as "
                "state_dict() gives them"
            )
        named = cast("Mapping[str, Any]", arrays)
        # Copies: two controllers may load the same state.
        copies = {name: np.array(value) for name, value in named.items()}
        return self._restore(dict(cast("Mapping[str, Any]", header)), copies, keys)

    def _restore(
        self, header: dict[str, Any], arrays: Arrays, keys: Literal["exact", "match"]
    ) -> KeyMatch:
        """Take over a state; its arrays become the controller's own."""
        checkpoint.check_header(header, self._identity)
        checkpoint.check_values(header)
        match = match_keys(required(arrays, "key_hash_N"), self.problem.key_hash_N, keys)
        found = categories(header.get("categories"), self._tracker.binning, keys)
        tracker = restored_tracker(self.difficulty, self.problem, arrays, match.remap, found)
        strategy_state = decode(
            self.strategy.init(self.problem.num_prompts, self.belief.num_bins),
            arrays,
            "strategy",
            match.remap,
            found.rows,
        )
        plans = self._plans.restored(header, arrays, len(arrays["key_hash_N"]), found.num_bins)
        ledger = Ledger.of(header.get("ledger"))
        if self.log is not None:
            self.log.rewind(plans.was_closed)
        # Nothing below can fail: a refused checkpoint leaves the controller as it was.
        self._tracker, self._state, self._plans = tracker, strategy_state, plans
        self.belief, self.ledger = Belief(tracker), ledger
        self._metrics, self._by_bin, self._last = dict(header["metrics"]), {}, None
        if found.changed or not match.same:  # plans in flight are of other bins or prompts
            for ticket in self._plans.tickets:
                self.abandon(ticket)
        return match

    def _snapshot(self) -> tuple[dict[str, Any], Arrays]:
        names = self._tracker.binning.categories
        header = {
            **self._identity,
            **({"categories": list(names)} if names else {}),
            **self._plans.header(),
            "ledger": self.ledger.as_dict(),
            "metrics": dict(self._closed_metrics()),
        }
        arrays = encode(self._state, "strategy")
        arrays |= {f"difficulty/{k}": v for k, v in self._tracker.arrays().items()}
        return header, arrays | self._plans.arrays()
