"""The controller: one training step, from plan to closed ticket. Only it changes state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from gdro.checkpoint import archive
from gdro.checkpoint.codec import Arrays, decode, encode, required
from gdro.checkpoint.keys import KeyMatch, match_keys
from gdro.difficulty.belief import Belief
from gdro.difficulty.categories import categories
from gdro.difficulty.restore import restored_tracker
from gdro.difficulty.tracker import Difficulty, DifficultyTracker
from gdro.errors import CheckpointError
from gdro.groups import Groups, group
from gdro.log import records
from gdro.log.closed import ClosedPlan, NoPlan
from gdro.log.run_log import RunLog
from gdro.numerics.arrays import FloatArray, IntArray, frozen
from gdro.numerics.budget import even_split
from gdro.problem import Problem
from gdro.step import checks
from gdro.step.digest import check_hashes, digest
from gdro.step.in_flight import InFlight, Pending
from gdro.step.ledger import Ledger
from gdro.strategy import Draft, More, Strategy
from gdro.types import Extension, Outcome, Plan, Request, Weights

_WEIGH = 2**31  # part of a seed, above the number of any round of extensions


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
        self._last: ClosedPlan | NoPlan = NoPlan()

    @property
    def selects(self) -> bool:
        """Whether plans should be requested without `offered_P`."""
        return self.apply and self.strategy.selects

    @property
    def open_tickets(self) -> list[int]:
        """Tickets of plans in flight, oldest first."""
        return self._plans.tickets

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
        checks.check_pool(request, self.problem.num_prompts)
        self._plans.check_room()
        ticket = self._plans.next_ticket
        rng = np.random.default_rng([self.seed, ticket])
        prompt_P = self._select(request, rng)
        plain = Strategy[Any]()
        selector = self.strategy if self.apply and request.offered_P is None else plain
        mass_B, even_B = (s.mass(self._state, self.belief) for s in (selector, plain))
        bin_P = self._tracker.bins(prompt_P, predicted=np.array_equal(mass_B, even_B))
        draft = Draft(prompt_P, bin_P, request.num_rollouts)
        rollouts_P = checks.check_rollouts(
            self.strategy.name, self.strategy.allocate(self._state, self.belief, draft, rng), request
        )
        shadow_P = None if self.apply else rollouts_P
        if not self.apply:
            rollouts_P = even_split(request.num_prompts, request.num_rollouts)
        importance_P = selector.importance(self._state, self.belief, bin_P)
        rollouts_P, importance_P = frozen(rollouts_P, np.int64), frozen(importance_P, np.float64)
        plan = Plan(ticket, prompt_P, rollouts_P, bin_P, importance_P, mass_B=frozen(mass_B, np.float64))
        self._plans.add(Pending(plan, shadow_P))
        self.ledger.plans += 1
        self.ledger.planned += request.num_rollouts
        return plan

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
        extension = pending.extend(rounded_up(more, multiple), self._tracker.bin_N)
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
        groups = pending.groups
        if groups is None or groups.outcome is not outcome:
            groups = group(pending.plan, outcome)
        if loss_R is not None:
            groups = groups.with_loss(np.asarray(loss_R, np.float64))
        # The strategy comes first: it sees beliefs from before the visit, and may refuse the outcome
        # before anything has changed.
        state = self.strategy.update(self._state, self.belief, groups)
        scored_P = groups.scored_P
        # The expected pass rates, before this visit updates them.
        predicted_P = None if self.log is None else self.belief.chance(pending.plan.prompt_P)
        self._tracker.record(
            pending.plan.prompt_P[scored_P], groups.successes_P[scored_P], groups.trials_P[scored_P]
        )
        self._state = state
        self._plans.close(outcome.ticket)
        self.ledger.close(groups, pending.discarded, recalled)
        self._last = ClosedPlan(groups, pending, self.strategy, state, self.belief.num_bins)
        if predicted_P is not None:
            self._write(groups, pending, predicted_P, extra or {})

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
        return digest(self._header(), self._state, self._tracker, self._plans.arrays())

    def state_dict(self) -> dict[str, Any]:
        """The whole state: `header` (JSON data) and `arrays` (copies, by name)."""
        header, arrays = self._snapshot()
        arrays["key_hash_N"] = self.problem.key_hash_N
        return {"header": header, "arrays": {k: v.copy() for k, v in arrays.items()}}

    def save(self, path: str | Path) -> None:
        """Write the whole state to one file, atomically, after the run log is on disk.

        Raises:
            CheckpointError: The disk is full, or the folder cannot be written; an earlier file stays
                intact.
            StrategyError: The digests of earlier steps were not of this state.
        """
        check_hashes(self.strategy.name, self._state, self._tracker)
        header, arrays = self._snapshot()
        if self.log is not None:
            self.log.sync()
        archive.write(path, header, {**arrays, "key_hash_N": self.problem.key_hash_N})

    def load(self, path: str | Path, keys: Literal["exact", "match"] = "exact") -> KeyMatch:
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

    def load_state_dict(
        self, state: Mapping[str, Any], keys: Literal["exact", "match"] = "exact"
    ) -> KeyMatch:
        """Restore a state from `state_dict`. Arguments, result and errors are those of `load`."""
        header, arrays = state.get("header"), state.get("arrays")
        if not isinstance(header, Mapping) or not isinstance(arrays, Mapping):
            raise CheckpointError(
                f"the state has {sorted(map(str, state))}; it needs `header` and `arrays`, as from "
                "state_dict()"
            )
        named = cast("Mapping[str, Any]", arrays)
        # Copies: two controllers may load the same state.
        copies = {name: np.array(value) for name, value in named.items()}
        return self._restore(dict(cast("Mapping[str, Any]", header)), copies, keys)

    def metrics(self) -> dict[str, float]:
        """Scalars of the last closed plan and of the ledger, by names that start with `gdro/`."""
        totals = {f"total_{k}": float(v) for k, v in self.ledger.as_dict().items()}
        return {f"gdro/{k}": v for k, v in ({**self._last.metrics} | totals).items()}

    def curriculum(self) -> dict[str, float]:
        """Prompts, rollouts and weight by bin of the last closed plan, all named `gdro/...`."""
        by_bin = self._last.bins
        return {f"gdro/{k}": v for k, v in records.tracked(by_bin).items()} if by_bin else {}

    def _restore(
        self, header: dict[str, Any], arrays: Arrays, keys: Literal["exact", "match"]
    ) -> KeyMatch:
        """Restore a state, whose arrays become the controller's own."""
        archive.check_header(header, self._identity)
        archive.check_values(header)
        match = match_keys(required(arrays, "key_hash_N"), self.problem.key_hash_N, keys)
        bins = categories(header.get("categories"), self._tracker.binning, keys)
        tracker = restored_tracker(self.difficulty, self.problem, arrays, match.remap, bins)
        initial = self.strategy.init(self.problem.num_prompts, self.belief.num_bins)
        strategy_state = decode(initial, arrays, "strategy", match.remap, bins.rows)
        strategy_state = self.strategy.restored(strategy_state)
        plans = self._plans.restored(header, arrays, len(arrays["key_hash_N"]), bins.num_bins)
        ledger = Ledger.of(header.get("ledger"))
        if self.log is not None:
            self.log.rewind(plans.was_closed)
        # Nothing below can fail: a refused checkpoint leaves the controller as it was.
        self._tracker, self._state, self._plans = tracker, strategy_state, plans
        self.belief, self.ledger = Belief(tracker), ledger
        self._last = NoPlan(header["metrics"])
        if bins.changed or not match.same:  # plans in flight are of other bins or prompts
            for ticket in self._plans.tickets:
                self.abandon(ticket)
        return match

    def _snapshot(self) -> tuple[dict[str, Any], Arrays]:
        arrays = encode(self._state, "strategy")
        arrays |= {f"difficulty/{k}": v for k, v in self._tracker.arrays().items()}
        return self._header(), arrays | self._plans.arrays()

    def _header(self) -> dict[str, Any]:
        names = self._tracker.binning.categories
        return {
            **self._identity,
            **({"categories": list(names)} if names else {}),
            **self._plans.header(),
            "ledger": self.ledger.as_dict(),
            "metrics": dict(self._last.metrics),
        }

    def _write(
        self, groups: Groups, pending: Pending, predicted_P: FloatArray, extra: Mapping[str, float]
    ) -> None:
        assert self.log is not None
        num_prompts, num_bins = self.problem.num_prompts, self.belief.num_bins
        what = records.header(self.strategy, self.difficulty, self.seed, num_prompts, num_bins)
        self.log.describe({**what, "applied": self.apply, "selects": self.selects})
        weight_P = records.weight(pending)
        by_bin = self.strategy.by_bin(self._state)
        step = {
            "ticket": pending.plan.ticket,
            **extra,
            # Every step of the log has every name, with null where nothing was judged or scored.
            "metrics": {**dict.fromkeys(records.OF_VERDICTS + records.OF_REWARDS), **self._last.metrics},
            "bins": self._last.bins,
            "strategy": {name: value.tolist() for name, value in by_bin.items()},
            "ledger": self.ledger.as_dict(),
            "applied": self.apply,
            **records.shadow(pending.shadow_P),
        }
        keys = self.problem.prompt_keys
        self.log.append(step, records.group_records(groups, weight_P, predicted_P, keys))

    def _select(self, request: Request, rng: np.random.Generator) -> IntArray:
        if request.offered_P is not None:
            return request.offered_P
        selector = self.strategy if self.apply else Strategy[Any]()
        selected = selector.select(self._state, self.belief, request, rng)
        return checks.check_selected(selector.name, selected, request, self.problem.num_prompts)


def rounded_up(more: More, multiple: int) -> More:
    """Further rollouts, rounded up to a multiple in total: the first prompts get the rest."""
    rest = -int(more.rollouts_P.sum()) % multiple
    return More(more.prompt_P, more.rollouts_P + even_split(len(more.prompt_P), rest)) if rest else more
