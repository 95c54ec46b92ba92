"""The controller: one training step, from plan to closed ticket. Only it changes state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gdro.checkpoint import archive
from gdro.checkpoint.codec import Arrays, decode, encode, required
from gdro.checkpoint.keys import Follow, KeyMatch, match_keys
from gdro.difficulty.belief import Belief
from gdro.difficulty.categories import categories
from gdro.difficulty.restore import restored_tracker
from gdro.difficulty.tracker import Difficulty, DifficultyTracker
from gdro.groups import group
from gdro.log import records
from gdro.log.closed import ClosedPlan, NoPlan
from gdro.log.run_log import RunLog
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.problem import Problem
from gdro.step import checks
from gdro.step.allocated import Allocated, adopted
from gdro.step.digest import check_hashes, digest
from gdro.step.drafting import drafted
from gdro.step.in_flight import InFlight, Pending
from gdro.step.ledger import Ledger
from gdro.strategy import Strategy
from gdro.types import Allocation, Extension, Outcome, Plan, Request, Weights

_WEIGH, _ALLOCATE = 2**31, 2**31 + 1  # parts of seeds, above the number of any round of extensions


class Controller:
    """Drive a strategy through training steps: plan, weigh, observe.

    Plans may be closed late and out of order; each plan's randomness comes from the seed and its
    ticket alone, so the same seed gives the same plans on every rank and after every resume.

    Args:
        strategy: Strategy that decides, from `make_strategy`.
        problem: Prompts to serve.
        seed: Seed of all randomness.
        difficulty: How difficulty is estimated and binned.
        apply: False is shadow mode: the strategy plans, weighs and is logged, but the plan that is
            returned is uniform and the weights are one.
        log: Run log that records closed plans.
        max_pending: Most plans in flight; each keeps its rows until it is closed.

    Raises:
        GdroError: An argument is of the wrong kind or out of range.
        ProblemError: The strategy needs a column that the prompts do not have.

    >>> from gdro import Problem, Request, make_strategy
    >>> c = Controller(make_strategy("uniform"), Problem(prompt_keys=["a", "b", "c"]), seed=0)
    >>> c.plan(Request(num_prompts=2, num_rollouts=8)).rollouts_P.tolist()
    [4, 4]
    """

    def __init__(
        self,
        strategy: Strategy[Any],
        problem: Problem,
        *,
        seed: int = 0,
        difficulty: Difficulty | None = None,
        apply: bool = True,
        log: RunLog | None = None,
        max_pending: int = 1024,
    ) -> None:
        checks.check_options(seed, max_pending)
        checks.check_parts(strategy, difficulty)
        checks.check_columns(strategy, problem)
        self.strategy = strategy
        self.problem = problem
        self.seed = int(seed)
        self.difficulty = difficulty or Difficulty()
        self.apply = apply
        self.log = log
        self.ledger = Ledger()
        self._tracker = DifficultyTracker(self.difficulty, problem)
        self.belief = Belief(self._tracker)
        self._state = strategy.init(problem.num_prompts, self.belief.num_bins)
        self._identity = archive.identity(
            strategy.name, strategy.config(), self.difficulty.identity(), self.seed
        )
        self._plans = InFlight(max_pending)
        self._allocated = Allocated(self.belief.num_bins)
        self._last: ClosedPlan | NoPlan = NoPlan()

    @property
    def selects(self) -> bool:
        """Whether plans should be requested without `offered_P`."""
        return self.apply and self.strategy.selects

    @property
    def open_tickets(self) -> list[int]:
        """Tickets of plans in flight, oldest first."""
        return self._plans.tickets

    @property
    def open_groups(self) -> Allocation:
        """Allocated groups that were neither adopted nor evicted, oldest first."""
        return self._allocated.groups

    def plan(self, request: Request) -> Plan:
        """Decide which prompts get how many rollouts.

        Args:
            request: Number of prompts and rollouts, and the prompts if the trainer chose them.

        Returns:
            A plan whose rollouts sum exactly to the request.

        Raises:
            RequestError: More prompts than there are, or an index out of range.
            StrategyError: The selection or allocation of the strategy is invalid.
            BudgetError: The strategy cannot spend exactly that many rollouts.
            TicketError: Too many plans are in flight.
        """
        self._plans.check_room()
        ticket = self._plans.next_ticket
        pending = self._drafted(request, ticket, [self.seed, ticket])
        self._plans.add(pending)
        self.ledger.plans += 1
        self.ledger.planned += request.num_rollouts
        return pending.plan

    def allocate(self, request: Request) -> Allocation:
        """Decide as `plan` does and open no ticket, for a trainer that trains on groups as they finish.

        Each prompt is a group, until `adopt` puts it into a plan or `evict` gives it up.

        Args:
            request: Number of prompts and rollouts, and the prompts if the trainer chose them.

        Returns:
            The prompts with their rollouts, which sum exactly to the request.

        Raises:
            GdroError: As of `plan`, or a million groups are neither adopted nor evicted.
        """
        self._allocated.check_room(request.num_prompts)
        pending = self._drafted(request, 0, [self.seed, self._allocated.allocations, _ALLOCATE])
        self.ledger.allocations += 1
        self.ledger.planned += request.num_rollouts
        return self._allocated.add(pending)

    def adopt(self, group_P: IntArray) -> Plan:
        """Open a plan of the groups that the trainer is about to train on, in any order.

        A prompt with several groups is in the plan once, with all of their rollouts.

        Args:
            group_P: Numbers of the groups, shape (P,).

        Raises:
            TicketError: A group is unknown, or was adopted or evicted; or too many plans are in flight.
        """
        self._plans.check_room()
        columns, ticket = self._allocated.take(group_P), self._plans.next_ticket
        pending, duplicates = adopted(columns, ticket, self.apply)
        self._plans.add(pending)
        self.ledger.plans += 1
        self.ledger.duplicates += duplicates
        return pending.plan

    def evict(self, group_P: IntArray) -> None:
        """Give up allocated groups that will not be trained on; no belief moves.

        Raises:
            TicketError: A group is unknown, or was adopted or evicted already.
        """
        self.ledger.evicted += int(self._allocated.take(group_P)["rollouts_G"].sum())

    def extend(self, outcome: Outcome, multiple: int = 1) -> Extension | None:
        """Ask for further rollouts before an outcome is weighed.

        Call it with all rows of the ticket so far, generate and score what it asks for, and call it
        again with those rows added, until it returns None.

        Args:
            outcome: All rows of an open plan so far.
            multiple: Number to a multiple of which the extension's rollouts are rounded up, e.g. the
                number of ranks that share the generation.

        Returns:
            The rollouts to generate, or None; always None in shadow mode.

        Raises:
            TicketError: The ticket is unknown or closed.
            OutcomeError: Rows do not fit the plan.
            StrategyError: The strategy asks for prompts that do not exist, or does not stop asking.
        """
        pending = self._plans.get(outcome.ticket)
        if not (self.apply and self.strategy.extends):
            return None
        groups = group(pending.plan, outcome)
        rng = np.random.default_rng([self.seed, outcome.ticket, 1 + pending.round])
        more = self.strategy.extend(self._state, self.belief, groups, pending.round, rng)
        if more is None:
            return None
        checks.check_more(self.strategy.name, more, self.problem.num_prompts, pending.round)
        extension = pending.extend(more, multiple, self._tracker.bin_N)
        self.ledger.planned += int(extension.rollouts_P.sum())
        return extension

    def weigh(self, outcome: Outcome) -> Weights:
        """Weights of an outcome's rows, from the state before this visit.

        Args:
            outcome: Scored rollouts of an open plan.

        Returns:
            Weights aligned with the outcome's rows; ones in shadow mode.

        Raises:
            TicketError: The ticket is unknown or closed.
            OutcomeError: Rows do not fit the plan.
        """
        pending = self._plans.get(outcome.ticket)
        groups = group(pending.plan, outcome)
        rng = np.random.default_rng([self.seed, outcome.ticket, _WEIGH])
        weights = self.strategy.weigh(self._state, self.belief, groups, rng)
        if self.strategy.unscaled:
            weights = replace(weights, scale="none")
        checks.check_weights(self.strategy.name, weights, outcome, pending.plan)
        applied = weights if self.apply else groups.expand(np.ones(len(groups.received_P)))
        pending.weigh(groups, weights, applied)
        return applied

    def observe(
        self,
        outcome: Outcome,
        loss_R: FloatArray | None = None,
        *,
        extra: Mapping[str, float] | None = None,
        recalled: tuple[int, int] = (0, 0),
    ) -> None:
        """Close a plan: update the beliefs and the strategy's state, and log the step.

        Args:
            outcome: Scored rollouts of an open plan.
            loss_R: Loss of each row after the update, aligned with the outcome, shape (R,).
            extra: Further scalars for the run log, e.g. the trainer's global step.
            recalled: Number of remembered rows that replaced rows of this plan, and of their tokens.

        Raises:
            TicketError: The ticket is unknown or closed.
            OutcomeError: Rows do not fit the plan, or the strategy needs `loss_R`.
        """
        pending = self._plans.get(outcome.ticket)
        groups = pending.grouped(outcome)
        if loss_R is not None:
            groups = groups.with_loss(np.asarray(loss_R, np.float64))
        # The strategy comes first: it sees beliefs from before the visit, and may refuse the outcome
        # before anything has changed.
        state = self.strategy.update(self._state, self.belief, groups)
        # The expected pass rates, before this visit updates them.
        predicted_P = None if self.log is None else self.belief.chance(pending.plan.prompt_P)
        self._tracker.record(*groups.verdicts)
        self._state = state
        self._plans.close(outcome.ticket)
        self.ledger.close(groups, pending.discarded, recalled)
        self._last = closed = ClosedPlan(groups, pending, self.strategy, state, self.belief.num_bins)
        if predicted_P is not None:
            self._write(closed, predicted_P, extra or {})

    def abandon(self, ticket: int) -> None:
        """Close a plan that will never have an outcome.

        Args:
            ticket: Number of an open plan.

        Raises:
            TicketError: The ticket is unknown or closed.
        """
        plan = self._plans.get(ticket).plan
        self._plans.close(ticket)
        self.ledger.abandoned += 1
        self.ledger.missing += int(plan.rollouts_P.sum())

    def digest(self) -> str:
        """A hash of the whole state, equal on ranks that agree.

        The first one reads every prompt; later ones cost as much as the prompts that changed, except
        where a strategy keeps plain arrays by prompt in its state.
        """
        arrays = self._plans.arrays() | self._allocated.arrays()
        return digest(self._header(), self._state, self._tracker, arrays)

    def state_dict(self) -> dict[str, Any]:
        """The whole state: `header` (JSON data) and `arrays` (copies, by name)."""
        header, arrays = self._snapshot()
        return {"header": header, "arrays": {k: v.copy() for k, v in arrays.items()}}

    def save(self, path: str | Path) -> None:
        """Write the whole state to one file, atomically, after the run log is on disk.

        Raises:
            CheckpointError: The disk is full, or the folder cannot be written; an earlier file stays
                intact.
            StrategyError: The digests of earlier steps were not of this state.
        """
        check_hashes(self.strategy.name, self._state, self._tracker)
        if self.log is not None:
            self.log.sync()
        archive.write(path, *self._snapshot())

    def load(self, path: str | Path, keys: Follow = "exact") -> KeyMatch:
        """Restore the state of a file, and rewind the run log to it.

        Args:
            path: A file from `save`.
            keys: `exact` needs the same prompts in the same order; `match` follows the keys into a
                changed dataset (new prompts start unseen, plans in flight are abandoned). Where bins
                are of a column, `match` also follows the names of its categories: the state of a bin
                stays with its category, new categories start fresh, and prompts take their new ones.

        Returns:
            How many keys matched, were added and were removed.

        Raises:
            CheckpointError: The file is damaged or belongs to another strategy, schema or dataset.
            LogError: The run log is damaged or cannot be written.
        """
        return self._restore(*archive.read(path), keys)

    def load_state_dict(self, state: Mapping[str, Any], keys: Follow = "exact") -> KeyMatch:
        """Restore a state from `state_dict`. Arguments, result and errors are those of `load`."""
        return self._restore(*archive.parts(state), keys)

    def metrics(self) -> dict[str, float]:
        """Scalars of the last closed plan and of the ledger, by names that start with `gdro/`."""
        totals = {f"total_{k}": float(v) for k, v in self.ledger.as_dict().items()}
        return {f"gdro/{k}": v for k, v in ({**self._last.metrics} | totals).items()}

    def curriculum(self) -> dict[str, float]:
        """Prompts, rollouts and weight by bin of the last closed plan, all named `gdro/...`."""
        by_bin = self._last.bins
        return {f"gdro/{k}": v for k, v in records.tracked(by_bin).items()} if by_bin else {}

    def _restore(self, header: dict[str, Any], arrays: Arrays, keys: Follow) -> KeyMatch:
        """Restore a state, whose arrays become the controller's own."""
        archive.check_header(header, self._identity)
        archive.check_values(header)
        match = match_keys(required(arrays, "key_hash_N"), self.problem.key_hash_N, keys)
        bins = categories(header.get("categories"), self._tracker.binning, keys)
        tracker = restored_tracker(self.difficulty, self.problem, arrays, match.remap, bins)
        initial = self.strategy.init(self.problem.num_prompts, self.belief.num_bins)
        state = self.strategy.restored(decode(initial, arrays, "strategy", match.remap, bins.rows))
        size = len(arrays["key_hash_N"]), bins.num_bins
        plans = self._plans.restored(header, arrays, *size)
        allocated = self._allocated.restored(header, arrays, *size)
        ledger = Ledger.of(header.get("ledger"))
        if self.log is not None:
            self.log.rewind(plans.was_closed)
        # Nothing below can fail: a refused checkpoint leaves the controller as it was.
        self._tracker, self._state = tracker, state
        self._plans, self._allocated = plans, allocated
        self.belief, self.ledger = Belief(tracker), ledger
        self._last = NoPlan(header["metrics"])
        if bins.changed or not match.same:  # plans in flight are of other bins or prompts
            for ticket in self._plans.tickets:
                self.abandon(ticket)
            self.evict(self.open_groups.group_P)
        return match

    def _snapshot(self) -> tuple[dict[str, Any], Arrays]:
        arrays = encode(self._state, "strategy")
        arrays |= {f"difficulty/{k}": v for k, v in self._tracker.arrays().items()}
        arrays |= self._plans.arrays() | self._allocated.arrays()
        return self._header(), {**arrays, "key_hash_N": self.problem.key_hash_N}

    def _header(self) -> dict[str, Any]:
        names = self._tracker.binning.categories
        return {
            **self._identity,
            **({"categories": list(names)} if names else {}),
            **self._plans.header(),
            **self._allocated.header(),
            "ledger": self.ledger.as_dict(),
            "metrics": dict(self._last.metrics),
        }

    def _write(self, closed: ClosedPlan, predicted_P: FloatArray, extra: Mapping[str, float]) -> None:
        assert self.log is not None
        if not self.log.described:
            size = self.problem.num_prompts, self.belief.num_bins
            what = records.header(self.strategy, self.difficulty, self.seed, *size)
            self.log.describe({**what, "applied": self.apply, "selects": self.selects})
        step = closed.record(extra, self.ledger.as_dict(), self.apply)
        self.log.append(step, closed.group_records(predicted_P, self.problem.prompt_keys))

    def _drafted(self, request: Request, ticket: int, seeds: list[int]) -> Pending:
        known, rng = (self._tracker, self.belief), np.random.default_rng(seeds)
        return drafted(self.strategy, self._state, known, request, ticket, rng, self.apply)
