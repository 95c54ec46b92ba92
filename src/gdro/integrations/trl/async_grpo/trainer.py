"""AsyncGRPOTrainer with a controller, which lives in the process that makes the rollouts."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.experimental.async_grpo import (
    AsyncGRPOConfig,  # pyright: ignore[reportPrivateImportUsage]  # they are TRL's public names
    AsyncGRPOTrainer,  # pyright: ignore[reportPrivateImportUsage]
)

from gdro.controller import Controller
from gdro.difficulty.tracker import Difficulty
from gdro.integrations.dataset import dataset_pool, wanted_columns
from gdro.integrations.trl.async_grpo import checks
from gdro.integrations.trl.async_grpo.loop import Start, Terms
from gdro.integrations.trl.async_grpo.planner import read_position
from gdro.integrations.trl.async_grpo.worker import PlannedWorker
from gdro.integrations.trl.checkpoints import (
    is_plain_grpo,
    mark_incomplete,
    resolved,
    written,
)
from gdro.integrations.trl.checks import check_arguments
from gdro.integrations.trl.console import Console, check_console, shorten
from gdro.integrations.trl.correct import Correct, check_correct
from gdro.integrations.trl.data import check_copies, check_options
from gdro.integrations.trl.resume import ResumeKeys, check_resume_keys, follow, warn_fresh
from gdro.integrations.trl.start import say, start_line
from gdro.integrations.trl.visits import warn_of_few_visits, warn_of_one_prompt
from gdro.strategies.compose import Part
from gdro.strategy import Strategy

_TOTAL = "gdro/total_"


class GDROAsyncGRPOTrainer(AsyncGRPOTrainer):
    """TRL's experimental AsyncGRPOTrainer with a controller.

    Plans are made when rollouts are asked for, several may be in flight, and rows go to the training
    when all of their plan are scored.

    Args:
        *args: Positional arguments of AsyncGRPOTrainer.
        strategy: Strategy, its name, or a list of parts (see `gdro.make_strategy`), without a memory;
            default: that of `gdro.default_strategy(num_generations)` without its memory.
        strategy_options: Options, when `strategy` is a name.
        difficulty: How difficulty is estimated and binned.
        apply: False is shadow mode: plan, weigh and log, change nothing.
        id_column: Dataset column of distinct ids; default: a hash of all columns.
        prior_column: Dataset column of known pass rates.
        correct: What says whether a rollout is right, as for `GDROMixin`; a function must be importable
            in another process (no lambda), as reward functions must.
        prompts_per_plan: Prompts of a plan; default: the rows of a step
            (`per_device_train_batch_size * gradient_accumulation_steps` of all processes) over
            `num_generations`, at least 1.
        gdro_log: `brief` shows six numbers a line on the console, `full` all of them.
        resume_keys: When training is resumed: `exact`, `match` or `fresh`, as for `GDROMixin`.
        **kwargs: Keyword arguments of AsyncGRPOTrainer, but `rollout_worker`.

    Attributes:
        controller: The controller as it was at the last checkpoint, or at the end of the training.

    Raises:
        UnsupportedError: A strategy or an argument cannot work with rollouts that are made ahead.
        ProblemError: Prompts or their ids are missing or repeat.
        StrategyError: A strategy or option is unknown, or its bounds exclude `num_generations`.
    """

    args: Any
    rollout_worker: Any
    vllm_client: Any

    def __init__(
        self,
        *args: Any,
        strategy: Strategy[Any] | str | Sequence[Part] | None = None,
        strategy_options: Mapping[str, Any] | None = None,
        difficulty: Difficulty | None = None,
        apply: bool = True,
        id_column: str | None = None,
        prior_column: str | None = None,
        correct: Correct | None = None,
        prompts_per_plan: int | None = None,
        gdro_log: Console = "brief",
        resume_keys: ResumeKeys = "exact",
        **kwargs: Any,
    ) -> None:
        checks.check_version()
        check_console(gdro_log)
        check_resume_keys(resume_keys)
        check_correct(correct)
        checks.check_sendable(correct)
        given = checks.bound(AsyncGRPOTrainer, args, kwargs)
        config: Any = given.get("args")
        dataset: Any = given.get("train_dataset")
        check_arguments(dataset, kwargs, type(self))
        checks.check_trainer(config, dataset, given)
        check_options(config)
        mean = (config or AsyncGRPOConfig).num_generations
        part = checks.resolved(strategy, strategy_options, mean)
        columns = wanted_columns(part, difficulty)
        prompts = given.get("environment_factory") is None
        pool = dataset_pool(
            dataset, id_column, prior_column, columns, not (apply and part.roles), prompts
        )
        by_steps = config is not None and config.max_steps > 0
        self._gdro_resume_keys: ResumeKeys = resume_keys
        self._gdro_totals: dict[str, float] = {}
        super().__init__(*args, **kwargs)
        accumulated = self.args.gradient_accumulation_steps * self.accelerator.num_processes
        rows = self.args.per_device_train_batch_size * accumulated
        per_plan = checks.resolved_prompts(
            prompts_per_plan, rows // mean, len(dataset), pool.problem.num_prompts, part.selects
        )
        if apply and not part.selects:
            check_copies(pool.count_N, part, per_plan, mean)
        self._gdro_terms = Terms(
            *(part, pool, self.args.seed, difficulty, apply, correct, per_plan, mean),
            *(self.args.weight_sync_steps, self.args.output_dir),
        )
        self.controller: Controller = self._gdro_terms.controller()
        judge = self._gdro_judge(given, dataset.column_names)
        if gdro_log == "brief":
            shorten(self.callback_handler)
        self._gdro_replace_worker()
        visits = self.args.max_steps * rows / mean / pool.problem.num_prompts
        if not by_steps:
            visits = self.args.num_train_epochs * len(dataset) / pool.problem.num_prompts
        self._gdro_announce(judge, visits)

    def _gdro_replace_worker(self) -> None:
        """Put a worker of the same arguments, and with plans, in the place of the trainer's."""
        if self.rollout_worker is not None:  # it is None on all processes but the first
            given = self.rollout_worker._loop_kwargs
            self.rollout_worker = PlannedWorker(terms=self._gdro_terms, **given)
            self.rollout_queue = self.rollout_worker.rollout_buffer

    def _gdro_judge(self, given: Mapping[str, Any], columns: list[str]) -> str:
        """Check `correct=` and the names of reward functions; the rule in words."""
        functions = given.get("reward_funcs") or []
        functions = list(functions) if isinstance(functions, list | tuple) else [functions]
        checks.check_names(functions)
        if given.get("environment_factory"):
            return "decided when the environments are made"
        return self._gdro_terms.judge([checks.name_of(f) for f in functions], functions, columns).text

    def _gdro_announce(self, judge: str, visits: float) -> None:
        if self.accelerator.is_main_process and self.controller.apply:
            if self._gdro_terms.prompts > 1:
                warn_of_few_visits(self.controller, visits)
            else:
                warn_of_one_prompt(self.controller, "a plan takes one prompt", "Pass prompts_per_plan")
        say(start_line(self.controller, judge, self._gdro_terms.prompts, visits), self)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as AsyncGRPOTrainer does; True resumes from the newest checkpoint that is whole."""
        resume = resolved(resume_from_checkpoint, self.args.output_dir, lambda line: say(line, self))
        return super().train(resume, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as the trainer does, with the present values of counters instead of their sums."""
        if self.rollout_worker is not None:
            self._gdro_drain(self.rollout_worker.metrics_queue)
            logs.update(self._gdro_totals)
        super().log(logs, start_time)

    def _gdro_drain(self, metrics_queue: Any) -> None:
        """Move the worker's metrics to the trainer's, as it does; TRL would add up "total" ones."""
        while True:
            try:
                values = metrics_queue.get_nowait()
            except queue.Empty:
                return
            for name, value in values.items():
                if name.startswith(_TOTAL):
                    self._gdro_totals[name] = value
                else:
                    self._metrics["train"][name].append(value)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        path = Path(self._get_output_dir(trial=trial)) / folder
        with written(path):
            if self.rollout_worker is not None:
                # Before the trainer's own files: its state file, written last, marks a whole checkpoint.
                mark_incomplete(path)
                self.rollout_worker.save(path.absolute(), max(self._trained_groups, default=-1))
                self.controller.load_state_dict(self.rollout_worker.state)
            super()._save_checkpoint(model, trial)

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        folder = kwargs.get("resume_from_checkpoint")
        if self.rollout_worker is None:
            return super()._inner_training_loop(*args, **kwargs)
        self.rollout_worker.begin(self._gdro_start(None if folder is None else Path(folder)))
        try:
            return super()._inner_training_loop(*args, **kwargs)
        finally:
            if self.rollout_worker.state is not None:
                self.controller.load_state_dict(self.rollout_worker.state)

    def _gdro_start(self, folder: Path | None) -> Start:
        """Where the training begins.

        Raises:
            CheckpointError: A file of the checkpoint is missing, damaged or of another run.
        """
        self.vllm_client.wait_for_server_ready()
        if folder is None:
            return Start()
        step = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME)).global_step
        if self._gdro_resume_keys == "fresh" or is_plain_grpo(folder):
            warn_fresh(self, folder, self._gdro_resume_keys)
            return Start(step)
        offered = read_position(folder)
        follow(self, folder, self._gdro_resume_keys)
        return Start(step, self.controller.state_dict(), offered, folder)
