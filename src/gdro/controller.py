"""The controller: one training step, from plan to closed ticket. It alone mutates state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gdro import checkpoint, record
from gdro.checks import check_pool, check_rollouts
from gdro.codec import Arrays, decode, encode, required
from gdro.difficulty import Belief, Difficulty, DifficultyTracker, restored_tracker
from gdro.groups import Groups, group
from gdro.ledger import Ledger
from gdro.numerics.budget import even_split
from gdro.pending import InFlight, Pending
from gdro.pool import KeyMatch, match_keys
from gdro.runlog import RunLog
from gdro.strategy import Draft, Strategy
from gdro.types import FloatArray, IntArray, Outcome, Plan, Problem, Request, Weights, frozen


class Controller:
    """Drive a strategy through training steps: plan, weigh, observe.

    Plans may be closed late and out of order; each plan's randomness comes from the seed and its
    ticket alone, so the same seed gives the same plans on every rank and after every resume.

    Args:
        strategy: What decides, from `make_strategy`.
        problem: The pool of prompts.
        seed: Seed of all randomness.
        difficulty: How difficulty is estimated and binned.
        apply: False is shadow mode: the strategy plans, weighs and is logged, but the plan that is
            returned is uniform and the weights are one.
        log: Where to record closed plans.
        max_pending: Most plans in flight.

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
        self.strategy = strategy
        self.problem = problem
        self.seed = int(seed)
        self.difficulty = difficulty or Difficulty()
        self.apply = apply
        self.log = log
        self.ledger = Ledger()
        self._tracker = DifficultyTracker(self.difficulty, problem)
        self.belief = Belief(self._tracker)
        self._state = strategy.init(problem.num_prompts, self.difficulty.num_bins)
        self._identity = checkpoint.identity(
            strategy.name, strategy.config(), asdict(self.difficulty), self.seed
        )
        self._plans = InFlight(max_pending)
        self._metrics: dict[str, float] = {}
        self._last: tuple[Groups, Pending] | None = None

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
            RequestError: More prompts than the pool has, or an index outside it.
            BudgetError: The strategy cannot spend exactly that many rollouts.
            TicketError: Too many plans are in flight.
        """
        check_pool(request, self.problem.num_prompts)
        self._plans.check_room()
        ticket = self._plans.next_ticket
        rng = np.random.default_rng([self.seed, ticket])
        prompt_P = self._select(request, rng)
        bin_P = frozen(self._tracker.bin_N[prompt_P], np.int64)
        draft = Draft(prompt_P, bin_P, request.num_rollouts)
        rollouts_P = self.strategy.allocate(self._state, self.belief, draft, rng)
        check_rollouts(self.strategy.name, rollouts_P, request)
        shadow_P = None if self.apply else rollouts_P
        if not self.apply:
            rollouts_P = even_split(request.num_prompts, request.num_rollouts)
        drawn = self.apply and request.offered_P is None
        selector = self.strategy if drawn else Strategy[Any]()
        importance_P = selector.importance(self._state, self.belief, bin_P)
        plan = Plan(
            ticket, prompt_P, frozen(rollouts_P, np.int64), bin_P, frozen(importance_P, np.float64)
        )
        self._plans.add(Pending(plan, shadow_P))
        self.ledger.plans += 1
        self.ledger.planned += request.num_rollouts
        return plan

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
        weights = self.strategy.weigh(self._state, self.belief, groups)
        pending.weigh(groups, weights)
        if not self.apply:
            return groups.expand(np.ones(len(groups.received_P)))
        return weights

    def observe(
        self,
        outcome: Outcome,
        loss_R: FloatArray | None = None,
        *,
        extra: Mapping[str, float] | None = None,
    ) -> None:
        """Close a plan: beliefs and the strategy's state move, the step is logged.

        Args:
            outcome: Scored rollouts of an open plan.
            loss_R: Loss of each row after the update, aligned with the outcome, shape (R,).
            extra: Further scalars for the run log, e.g. the trainer's global step.

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
        # The strategy first: it sees beliefs from before the visit, and may refuse the outcome
        # while nothing has moved yet.
        state = self.strategy.update(self._state, self.belief, groups)
        scored_P = groups.scored_P
        self._tracker.record(
            pending.plan.prompt_P[scored_P], groups.successes_P[scored_P], groups.trials_P[scored_P]
        )
        self._state = state
        self._plans.close(outcome.ticket)
        self.ledger.close(groups, pending.discarded)
        self._last = groups, pending
        if self.log is not None:
            weight_P = record.weight(pending)
            step = {
                "ticket": outcome.ticket,
                **dict(extra or {}),
                "metrics": self._closed_metrics(),
                "bins": record.bins(groups, weight_P, self.difficulty.num_bins),
                "strategy": {k: v.tolist() for k, v in self.strategy.by_bin(state).items()},
                "ledger": self.ledger.as_dict(),
                "applied": self.apply,
                **record.shadow(pending.shadow_P),
            }
            self.log.append(step, record.group_records(groups, weight_P, self.problem.prompt_keys))

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

    def metrics(self) -> dict[str, float]:
        """Scalars of the last closed plan and of the ledger, names starting with `gdro/`."""
        totals = {f"total_{k}": float(v) for k, v in self.ledger.as_dict().items()}
        return {f"gdro/{k}": v for k, v in (self._closed_metrics() | totals).items()}

    def digest(self) -> str:
        """A hash of the whole state, equal on ranks that agree."""
        return checkpoint.digest(*self._snapshot())

    def state_dict(self) -> dict[str, Any]:
        """The whole state: `header` (JSON data) and `arrays` (copies, by name)."""
        header, arrays = self._snapshot()
        arrays["key_hash_N"] = self.problem.key_hash_N
        return {"header": header, "arrays": {k: v.copy() for k, v in arrays.items()}}

    def save(self, path: str | Path) -> None:
        """Write the whole state to one file, atomically."""
        header, arrays = self._snapshot()
        checkpoint.write(path, header, {**arrays, "key_hash_N": self.problem.key_hash_N})

    def load(self, path: str | Path, keys: Literal["exact", "match"] = "exact") -> KeyMatch:
        """Take over the state of a file, and rewind the run log to it.

        Args:
            path: A file from `save`.
            keys: `exact` demands the same pool in the same order; `match` follows the keys into a
                changed pool (new prompts start unseen, plans in flight are abandoned).

        Returns:
            How many keys matched, were added and were removed.

        Raises:
            CheckpointError: The file is damaged or belongs to another strategy, schema or pool.
        """
        return self._restore(*checkpoint.read(path), keys)

    def load_state_dict(
        self, state: Mapping[str, Any], keys: Literal["exact", "match"] = "exact"
    ) -> KeyMatch:
        """Take over a state from `state_dict`. Arguments, result and errors as for `load`."""
        # Copies: two controllers may load the same state.
        arrays = {name: np.array(value) for name, value in state["arrays"].items()}
        return self._restore(state["header"], arrays, keys)

    def _restore(
        self, header: dict[str, Any], arrays: Arrays, keys: Literal["exact", "match"]
    ) -> KeyMatch:
        """Take over a state; its arrays become the controller's own."""
        own, _ = self._snapshot()
        checkpoint.check_header(header, own)
        match = match_keys(required(arrays, "key_hash_N"), self.problem.key_hash_N, keys)
        tracker = restored_tracker(self.difficulty, self.problem, arrays, match.remap)
        strategy_state = decode(
            self.strategy.init(self.problem.num_prompts, self.difficulty.num_bins),
            arrays,
            "strategy",
            match.remap,
        )
        plans = self._plans.restored(header, arrays)
        self._tracker, self._state, self._plans = tracker, strategy_state, plans
        self.belief = Belief(tracker)
        self.ledger = Ledger(**header["ledger"])
        self._metrics, self._last = dict(header["metrics"]), None
        if self.log is not None:
            self.log.rewind(plans.was_closed)
        if not match.same:  # indices of plans in flight mean other prompts now
            for ticket in self.open_tickets:
                self.abandon(ticket)
        return match

    def _closed_metrics(self) -> dict[str, float]:
        """Scalars of the last closed plan, computed when they are first asked for."""
        if self._last is not None:
            groups, pending = self._last
            summary = record.summary(groups, record.weight(pending))
            self._metrics = summary | self.strategy.metrics(self._state)
            self._last = None
        return self._metrics

    def _snapshot(self) -> tuple[dict[str, Any], Arrays]:
        header = {
            **self._identity,
            **self._plans.header(),
            "ledger": self.ledger.as_dict(),
            "metrics": dict(self._closed_metrics()),
        }
        arrays = encode(self._state, "strategy")
        arrays |= {f"difficulty/{k}": v for k, v in self._tracker.arrays().items()}
        return header, arrays | self._plans.arrays()

    def _select(self, request: Request, rng: np.random.Generator) -> IntArray:
        if request.offered_P is not None:
            return request.offered_P
        selector = self.strategy if self.apply else Strategy[Any]()
        prompt_P = frozen(selector.select(self._state, self.belief, request, rng), np.int64)
        # Checks the strategy's choice as strictly as a trainer's.
        check_pool(
            Request(request.num_prompts, request.num_rollouts, prompt_P), self.problem.num_prompts
        )
        return prompt_P
