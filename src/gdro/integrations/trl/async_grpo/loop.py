"""TRL's loop of rollouts, in which a planner says what is generated and how its rows are weighted."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from trl.experimental.async_grpo.async_rollout_worker import (
    RolloutGroup,
    _AsyncRolloutLoop,  # pyright: ignore[reportPrivateUsage]  # TRL's own workers derive from it
)

from gdro.controller import Controller
from gdro.difficulty.tracker import Difficulty
from gdro.errors import GdroError
from gdro.integrations.dataset import DatasetPool
from gdro.integrations.trl.async_grpo.planner import Arrived, Planner, Wanted
from gdro.integrations.trl.correct import Called, Judge, Rewards, read_correct
from gdro.integrations.trl.logs import LOG_FOLDER
from gdro.integrations.trl.rule import rule
from gdro.log.run_log import RunLog
from gdro.strategy import Strategy


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        step: Its first step, less one.
        state: The controller's `state_dict`; None: it knows nothing yet.
        offered: Number of rows that were offered before.
        folder: The checkpoint; None: there is none, or only its weights are taken.
    """

    step: int = 0
    state: dict[str, Any] | None = None
    offered: int = 0
    folder: Path | None = None


@dataclass(frozen=True)
class Terms:
    """What the process of the rollouts needs to know of a run, besides TRL's own arguments.

    Attributes:
        strategy: Strategy of the controller.
        pool: Prompts of the dataset.
        seed: Seed of the controller.
        difficulty: How difficulty is estimated.
        apply: False is shadow mode.
        correct: What says whether a rollout is right; see `GDROMixin`.
        prompts: Prompts of a plan.
        mean: Mean number of rollouts of a prompt.
        sync_steps: Steps of training between two updates of the server's weights.
        output_dir: The trainer's folder.
    """

    strategy: Strategy[Any]
    pool: DatasetPool
    seed: int
    difficulty: Difficulty | None
    apply: bool
    correct: Any
    prompts: int
    mean: int
    sync_steps: int
    output_dir: str

    def controller(self) -> Controller:
        """A controller that knows nothing yet."""
        return Controller(
            self.strategy,
            self.pool.problem,
            seed=self.seed,
            difficulty=self.difficulty,
            apply=self.apply,
        )

    def judge(self, names: list[str], functions: list[Any], columns: list[str]) -> Judge:
        """What decides whether a rollout is right.

        Raises:
            UnsupportedError: `correct` names no reward function, or cannot be called as they are.
        """
        judge = read_correct(self.correct, names, functions)
        judge = judge or rule(names, functions, [1.0] * len(names), columns, ())
        if isinstance(judge, Called):
            judge.check(columns)
        return judge

    def planner(self, dataset: Any, judge: Judge, start: Start) -> Planner:
        """The planner of a run, which writes the run log."""
        controller = self.controller()
        log = controller.log = RunLog(Path(self.output_dir) / LOG_FOLDER)
        if start.state is None:
            log.set_aside()
        else:
            controller.load_state_dict(start.state)  # which rewinds the log
            for ticket in controller.open_tickets:
                controller.abandon(ticket)  # their rollouts were lost with the process
        if start.folder is not None:
            judge.load(start.folder)
        log.name_prompts(self.pool.described(dataset))
        return Planner(controller, self.pool, dataset, judge, self.prompts, self.mean, start.offered)


class PlannedLoop(_AsyncRolloutLoop):
    """TRL's loop with groups of the sizes that a controller plans.

    TRL's loop generates groups of one size. Here each rollout is a group of one, and those of a prompt
    are scored together, by TRL's own method, when the last has arrived.

    Args:
        terms: The run.
        start: Where it begins.
        requests: Connection to the trainer, which asks for checkpoints.
        num_generations: Mean number of rollouts of a prompt, which the plans replace.
        **kwargs: TRL's arguments.
    """

    def __init__(
        self, *, terms: Terms, start: Start, requests: Any, num_generations: int, **kwargs: Any
    ) -> None:
        # As many prompts may wait for their scores as in TRL, where a group is one item.
        kwargs["score_queue_maxsize"] = kwargs.get("score_queue_maxsize", 16) * num_generations
        super().__init__(num_generations=1, **kwargs)
        if start.folder is None:  # a checkpoint without gdro has TRL's own count of prompts
            start = replace(start, offered=kwargs.get("dataset_start_index", 0))
        self._terms, self._start = terms, start
        self._failure: GdroError | None = None
        try:
            self._planner = self._new_planner()
        except GdroError as error:  # only errors of `run` reach the trainer
            self._failure = error
        self._first_version = self.model_version
        self._wanted_of: dict[int, Wanted] = {}
        self._parts: dict[int, list[RolloutGroup]] = {}
        self._requests = requests
        threading.Thread(target=self._answer, daemon=True, name="gdro-state").start()

    def _new_planner(self) -> Planner:
        functions = [*self.reward_funcs, *self._env_reward_types]
        judge = self._terms.judge(self.reward_func_names, functions, self.dataset.column_names)
        return self._terms.planner(self.dataset, judge, self._start)

    def run(self) -> None:
        """Make rollouts until the training ends, and send the last state then."""
        super().run()
        self._requests.send((self._planner.last_state(), None))

    def _repeat_iterator(self) -> Any:
        if self._failure is not None:
            raise self._failure
        rollout = 0
        while True:
            for wanted in self._planner.wanted():
                row = self.dataset[wanted.row]
                for _ in range(wanted.rollouts):
                    self._wanted_of[rollout] = wanted
                    yield rollout, row
                    rollout += 1

    async def _score_group(self, group: RolloutGroup) -> list[Any]:
        wanted = self._wanted_of.pop(group.group_id)
        parts = self._parts.setdefault(wanted.number, [])
        parts.append(group)
        if len(parts) < wanted.rollouts:
            return []
        whole = merged(self._parts.pop(wanted.number))
        samples = await super()._score_group(whole)
        arrived = self._arrived(whole, samples, await self._answers(wanted.row, whole))
        rows = self._planner.take(wanted.number, arrived, {"step": self._step()})
        if rows:
            controller = self._planner.controller
            self._push_metrics({**controller.metrics(), **controller.curriculum()})
        return rows

    def _arrived(self, group: RolloutGroup, samples: list[Any], called_R: Rewards | None) -> Arrived:
        """Rewards and training rows of each rollout; one without rows has no reward here."""
        rest = iter(samples)
        rows = [[next(rest) for _ in sequences] for sequences in group.completions_sequences]
        names = [f"rewards/{name}" for name in self.reward_func_names]
        nothing = dict.fromkeys(["reward", *names], np.nan)
        metrics = [samples[0].metrics if samples else nothing for samples in rows]
        return Arrived(
            np.array([[m[name] for name in names] for m in metrics], np.float32),
            np.array([m["reward"] for m in metrics], np.float64),
            np.array([len(ids) for ids in group.completions_ids], np.int64),
            rows,
            called_R,
        )

    async def _answers(self, row: int, group: RolloutGroup) -> Rewards | None:
        judge = self._planner.judge
        if not isinstance(judge, Called):
            return None
        inputs = [self.dataset[row]] * len(group.completions)
        given = (group.prompts, group.completions, group.completions_ids)
        return await asyncio.to_thread(judge.ask, inputs, *given, trainer_state=None)

    def _step(self) -> int:
        """The step of training at which the server's weights were updated last."""
        return self._start.step + (self.model_version - self._first_version) * self._terms.sync_steps

    def _answer(self) -> None:
        """Write checkpoints when the trainer asks for them, and tell it the controller's state."""
        while True:
            try:
                folder, trained = self._requests.recv()
            except EOFError:
                return
            try:
                self._planner.save(Path(folder), trained)
                self._requests.send((self._planner.state(), None))
            except GdroError as error:
                self._requests.send((None, (type(error).__name__, str(error))))


def merged(parts: list[RolloutGroup]) -> RolloutGroup:
    """Groups of one prompt as one group, in the given order, of the oldest of their policies."""

    def joined(name: str) -> list[Any]:
        return [item for part in parts for item in getattr(part, name)]

    first = parts[0]
    columns = {
        name: [value for part in parts for value in part.reward_kwargs[name]]
        for name in first.reward_kwargs
    }
    lists = (
        *("prompts", "completions", "completions_ids", "completions_sequences"),
        *("tool_call_counts", "tool_failure_counts", "env_rewards", "rollout_rewards"),
    )
    return RolloutGroup(
        **{name: joined(name) for name in lists},
        reward_kwargs=columns,
        model_version=min(part.model_version for part in parts),
        group_id=first.group_id,
        queued_at=first.queued_at,
    )
