"""What to generate next, and the weight of every rollout once all of its plan are scored."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from gdro.common.files import read_json, write_json
from gdro.controller import Controller
from gdro.errors import CheckpointError, StrategyError
from gdro.integrations.dataset import DatasetPool
from gdro.integrations.trl.async_grpo.advantages import advantages
from gdro.integrations.trl.checkpoints import STATE_FILE, written
from gdro.integrations.trl.correct import Judge, Rewards, Scores
from gdro.integrations.trl.judging import VerdictWatch
from gdro.integrations.trl.start import SAY_OTHERWISE
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.types import Outcome, Plan, Request, Weights

POSITION_FILE = "gdro_async.json"
_FEW, _MOST = 5, 100  # plans in a row without a row to train on: before a warning, before an error


class Wanted(NamedTuple):
    """Rollouts of one prompt that are to be generated.

    Attributes:
        number: Counts these of a run, from 0.
        row: Number of the prompt's row in the dataset.
        rollouts: How many.
    """

    number: int
    row: int
    rollouts: int


@dataclass(frozen=True)
class Arrived:
    """The rollouts of a `Wanted`, scored.

    Attributes:
        each_RK: What each reward function gave, NaN for None, shape (R, K).
        total_R: Their sum, NaN where none gave a reward, shape (R,).
        tokens_R: Tokens that the model wrote, shape (R,).
        samples: TRL's training rows of each rollout, R lists: a conversation that was written anew on
            the way has several.
        called_R: Answers of a function in `correct=`, shape (R,).
    """

    each_RK: Rewards
    total_R: FloatArray
    tokens_R: IntArray
    samples: Sequence[list[Any]]
    called_R: Rewards | None = None


@dataclass
class _Open:
    """A plan in flight: where it began in the dataset, what it waits for, and what has arrived."""

    plan: Plan
    start: int
    prompt_of: dict[int, int] = field(default_factory=dict[int, int])  # of what is still generated
    latest: list[tuple[int, Arrived]] = field(default_factory=list[tuple[int, Arrived]])  # of this round
    arrived: list[Arrived] = field(default_factory=list[Arrived])
    outcome: Outcome | None = None


class Planner:
    """Plans rollouts on demand, and hands their rows over plan by plan, in the order of completion.

    The controller's plans may overlap in time. The weights of a plan are relative to all of its prompts,
    so that its rows wait for the last of them.

    Args:
        controller: The run's controller.
        pool: Prompts of the dataset.
        dataset: The dataset, whose rows are offered in their order, as AsyncGRPOTrainer takes them.
        judge: Decides which rollouts are right.
        prompts: Prompts of a plan.
        mean: Mean number of rollouts of a prompt.
        start: Number of rows that were offered before, by an earlier run.
    """

    def __init__(
        self,
        controller: Controller,
        pool: DatasetPool,
        dataset: Any,
        judge: Judge,
        prompts: int,
        mean: int,
        start: int = 0,
    ) -> None:
        self.controller, self.judge = controller, judge
        self._pool, self._dataset = pool, dataset
        self._prompts, self._mean, self._position = prompts, mean, start
        self._watch = VerdictWatch(judge)
        self._lock = RLock()  # a checkpoint is written by another thread
        self._numbers, self._groups, self._idle = itertools.count(), 0, 0
        self._further: list[Wanted] = []
        self._open: dict[int, _Open] = {}
        self._ticket_of: dict[int, int] = {}
        self._handed_over: deque[tuple[int, int]] = deque()  # last group and start of plans

    def wanted(self) -> list[Wanted]:
        """What to generate next: further rounds of a plan, else a new plan."""
        with self._lock:
            if self._further:
                further, self._further = self._further, []
                return further
            start = self._position
            plan = self.controller.plan(self._request())
            self._open[plan.ticket] = _Open(plan, start)
            return self._ordered(plan.ticket, plan.prompt_P, plan.rollouts_P)

    def take(self, number: int, arrived: Arrived, extra: Mapping[str, float]) -> list[Any]:
        """Take what arrived; the rows to train on, if a plan is complete with it.

        Args:
            number: Number of the `Wanted`.
            arrived: All of its rollouts.
            extra: Further scalars for the run log.

        Returns:
            TRL's rows, with their final advantages and with numbers of groups that count those which
            are handed over.

        Raises:
            StrategyError: The strategy has kept no rollout of the last hundred plans.
        """
        with self._lock:
            ticket = self._ticket_of.pop(number)
            pending = self._open[ticket]
            pending.latest.append((pending.prompt_of.pop(number), arrived))
            if pending.prompt_of:
                return []
            outcome = self._judged(ticket, pending)
            extension = self.controller.extend(outcome)
            if extension is not None:
                self._further += self._ordered(ticket, extension.prompt_P, extension.rollouts_P)
                return []
            del self._open[ticket]
            weights = self.controller.weigh(outcome)
            rows = self._handed(pending, outcome, weights)
            self.controller.observe(outcome, extra=extra)
            self._check_progress(rows)
            return rows

    def save(self, folder: Path, trained: int) -> None:
        """Write the controller's state, and from which row on prompts are offered after a resume.

        Prompts of plans in flight are offered again, and those of plans after the last group that was
        trained on (`trained`, -1: none).

        Raises:
            CheckpointError: A file cannot be written.
        """
        with self._lock, written(folder):
            while self._handed_over and self._handed_over[0][0] <= trained:
                self._handed_over.popleft()
            starts = [pending.start for pending in self._open.values()]
            starts += [start for _, start in self._handed_over]
            self.controller.save(folder / STATE_FILE)
            self.judge.save(folder)
            write_json(folder / POSITION_FILE, {"offered": min(starts, default=self._position)})

    def state(self) -> dict[str, Any]:
        """The controller's `state_dict`."""
        with self._lock:
            return self.controller.state_dict()

    def last_state(self) -> dict[str, Any]:
        """The controller's `state_dict` after the training; plans in flight have no outcome any more."""
        with self._lock:
            for ticket in self.controller.open_tickets:
                self.controller.abandon(ticket)
            return self.controller.state_dict()

    def _request(self) -> Request:
        prompts, rollouts = self._prompts, self._prompts * self._mean
        if self.controller.selects:
            return Request(prompts, rollouts)
        rows = [(self._position + i) % len(self._dataset) for i in range(prompts)]
        self._position += prompts
        offered = self._pool.apart(self._pool.indices([self._dataset[row] for row in rows]), 1)
        # Copies of a row are one prompt, which gets the rollouts of all of them.
        offered_P = np.array(list(dict.fromkeys(offered)))
        return Request(len(offered_P), rollouts, offered_P)

    def _check_progress(self, rows: list[Any]) -> None:
        """Say it where a strategy drops everything: the training then waits, and nothing else shows."""
        self._idle = 0 if rows else self._idle + 1
        if self._idle not in (_FEW, _MOST):
            return
        text = (
            f"strategy {self.controller.strategy.name!r} kept no rollout of the last {self._idle} "
            "plans, so that the training waits for rows; pass a larger prompts_per_plan, or take a "
            "strategy that keeps groups without a gradient"
        )
        if self._idle == _MOST:
            raise StrategyError(text)
        warnings.warn(text, stacklevel=2)

    def _ordered(self, ticket: int, prompt_P: IntArray, rollouts_P: IntArray) -> list[Wanted]:
        wanted: list[Wanted] = []
        for prompt, rollouts in zip(prompt_P.tolist(), rollouts_P.tolist(), strict=True):
            number = next(self._numbers)
            self._ticket_of[number] = ticket
            self._open[ticket].prompt_of[number] = prompt
            wanted.append(Wanted(number, self._pool.row_N[prompt], rollouts))
        return wanted

    def _judged(self, ticket: int, pending: _Open) -> Outcome:
        """The outcome of a plan so far, with the verdicts on its latest round."""
        latest, pending.latest = pending.latest, []
        prompt_R = np.repeat([prompt for prompt, _ in latest], [len(a.total_R) for _, a in latest])
        arrived = [a for _, a in latest]
        called = [a.called_R for a in arrived if a.called_R is not None]
        total_R = np.concatenate([a.total_R for a in arrived])
        scores = Scores(
            np.concatenate([a.each_RK for a in arrived]).astype(np.float32),
            total_R.astype(np.float32),
            np.concatenate(called) if called else None,
        )
        self._learn(scores)
        verdicts = self.judge.judge(scores)
        self._watch.see(ticket, prompt_R, verdicts)
        tokens_R = np.concatenate([a.tokens_R for a in arrived])
        known_R = ~np.isnan(total_R)
        outcome = Outcome(
            ticket, prompt_R, total_R, verdicts.correct_R, tokens_R, known_R, verdicts.judged_R
        )
        pending.outcome = outcome if pending.outcome is None else pending.outcome.joined(outcome)
        pending.arrived += arrived
        return pending.outcome

    def _learn(self, scores: Scores) -> None:
        before = self.judge.text
        self.judge.see(scores)
        if self.judge.text != before:
            print(f"gdro: right is {self.judge.text} ({SAY_OTHERWISE})", file=sys.stderr, flush=True)
        if self.controller.log is not None:
            self.controller.log.note("correct", self.judge.text)

    def _handed(self, pending: _Open, outcome: Outcome, weights: Weights) -> list[Any]:
        """The rows that the strategy keeps, with their advantages times their weights."""
        extends = self.controller.strategy.extends
        own_R = advantages(outcome, weights) if extends or weights.scale == "none" else None
        keep_R = weights.keep_R
        if not extends:  # TRL trains on rows without a reward, with an advantage of zero
            keep_R = keep_R | ~outcome.valid_mask_R
        rollouts = [samples for arrived in pending.arrived for samples in arrived.samples]
        group_of: dict[int, int] = {}
        rows: list[Any] = []
        for r, samples in enumerate(rollouts):
            if not (keep_R[r] and samples):
                continue
            group = group_of.setdefault(int(outcome.prompt_R[r]), self._groups + len(group_of))
            for sample in samples:
                base = sample.advantage if own_R is None else own_R[r]
                sample.advantage, sample.group_id = float(base * weights.weight_R[r]), group
            rows += samples
        self._groups += len(group_of)
        if group_of:
            self._handed_over.append((self._groups - 1, pending.start))
        return rows


def read_position(folder: Path) -> int:
    """How many rows were offered before a checkpoint.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = folder / POSITION_FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {POSITION_FILE}: a GDROTrainer wrote it, or the file is lost; resume with "
            "the trainer that wrote it, or pass resume_keys='fresh' to take its weights alone"
        )
    offered = read_json(path, ["offered"], CheckpointError)["offered"]
    if not isinstance(offered, int) or isinstance(offered, bool) or offered < 0:
        raise CheckpointError(f"{path} holds {offered!r}, not a number of rows; it is damaged")
    return offered
