"""Prompt-GDRO, Rollout-GDRO and every other strategy in TRL's GRPOTrainer.

The adapter wraps two methods of GRPOTrainer and copies none: rows are replaced by the plan's,
advantages are computed over groups of unequal size and multiplied by the controller's weights. The
number of rows never changes, so every loss type, buffering and splitting work as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportPrivateImportUsage]

from gdro.controller import Controller
from gdro.difficulty.tracker import Difficulty
from gdro.integrations.dataset import DatasetPool, dataset_pool, wanted_columns
from gdro.integrations.trl import checks, metrics
from gdro.integrations.trl.card import Card
from gdro.integrations.trl.checkpoints import (
    STATE_FILE,
    mark_incomplete,
    resolved,
    written,
)
from gdro.integrations.trl.config import OWN, GDROConfig, settled
from gdro.integrations.trl.console import Console, shorten
from gdro.integrations.trl.correct import Correct, check_process
from gdro.integrations.trl.data import check_copies, check_names, check_options, check_size
from gdro.integrations.trl.guard import LuckWatch
from gdro.integrations.trl.images import check_images, check_pixels
from gdro.integrations.trl.judging import Judging, Seen
from gdro.integrations.trl.logs import opened_log, write_completions
from gdro.integrations.trl.losses import ROW, LossCollector
from gdro.integrations.trl.memory import TrlMemory
from gdro.integrations.trl.resume import ResumeKeys, restore
from gdro.integrations.trl.start import say, start_line
from gdro.integrations.trl.static_decode import StaticDecoder
from gdro.integrations.trl.step import TrlStep, outcome_of
from gdro.integrations.trl.subclass import check_order, check_planned, recorded_rewards
from gdro.integrations.trl.turns import CheckedRollouts, TokenCounter, TurnCounter, with_tool_mask
from gdro.integrations.trl.visits import expected_visits, warn_of_idle
from gdro.numerics.arrays import IntArray
from gdro.strategies.compose import Part
from gdro.strategies.default import condition_of
from gdro.strategy import Strategy
from gdro.types import Outcome, Plan, Request, Weights

__all__ = ["GDROConfig", "GDROMixin", "GDROTrainer"]


# A mixin before GRPOTrainer: its methods call those of the trainer.
_Trainer = GRPOTrainer if TYPE_CHECKING else object


class GDROMixin(TokenCounter, metrics.Logs, Card, _Trainer):
    """Adds a controller to a GRPOTrainer; put it before the trainer class.

    >>> class MyTrainer(GDROMixin, GRPOTrainer): ...

    Arguments that are left out come from the trainer's `args`, where that is a `GDROConfig`.

    Args:
        *args: Positional arguments of the trainer.
        strategy: Strategy, its name, or a list of parts (see `gdro.make_strategy`); default:
            `gdro.default_strategy(num_generations)`.
        strategy_options: Options, when `strategy` is a name.
        controller: A ready controller instead of `strategy`; its pool must be the dataset's.
        difficulty: How difficulty is estimated and binned.
        apply: False is shadow mode: plan, weigh and log, change nothing; default: True.
        id_column: Dataset column of distinct ids; default: a hash of all columns.
        prior_column: Dataset column of known pass rates.
        correct: What says whether a rollout is right: the name of a reward function, (name,
            threshold), a list of these (the first that scores a row judges it), ("total", threshold),
            or a function, called as reward functions are (`prompts`, `completions`, `completion_ids`,
            `trainer_state` and the dataset's columns by name), that returns True, False or None (not
            known) for each row. Default: the only reward function above .5; of several see
            docs/trl.md, and the line that is printed at the start.
        process: Reward function that checks the work instead of the answer: its name, or (name,
            threshold), .5 if left out. A strategy with a memory stores no success whose reward from it
            is not above the threshold; None from it is no objection. Give it a weight of 0 in
            `reward_weights` to use it as a check alone.
        prompt_equal: Multiply advantages by n_bar/n, so that prompts with more rollouts do not
            weigh more in a loss that averages over rows.
        memory_bytes: Most bytes of tokens that a strategy with a memory keeps (256 MiB).
        memory_episodes: False: a memory stores no rollout in which a tool, an environment or a rollout
            function had a part. For those whose answers are random, see docs/memory.md.
        gdro_log: `brief` (default) shows six numbers a line on the console, `full` all of them; trackers
            and `state.log_history` get all either way.
        resume_keys: When training is resumed: `exact` (default) demands the dataset of the checkpoint,
            `match` follows the rows that both have, `fresh` loads the weights and starts a new
            controller.
        generation: `trl` (default) generates as the trainer's options say. `static` puts a
            `StaticDecoder` in the place of `model.generate`: the same distribution, without waiting for
            launches on a GPU.
        **kwargs: Keyword arguments of the trainer.

    Raises:
        UnsupportedError: A feature of the trainer cannot work with planned rollouts, or an argument and
            a field of the config differ.
        ProblemError: Prompt ids are missing or repeat.
        StrategyError: A strategy or option is unknown, or its bounds exclude `num_generations`.
    """

    args: Any
    model: Any
    num_generations: Any
    _tokenizer: Any
    decoder: StaticDecoder | None
    last_plan: Plan | None = None
    _pool: DatasetPool
    _gdro_resume_keys: ResumeKeys
    _gdro_planned: Sequence[int] = ()  # prompts of this rank's rows, while they are generated
    _gdro_losses: tuple[Outcome, LossCollector] | None = None
    _gdro_logps: torch.Tensor | None = None
    _gdro_memory: TrlMemory | None = None

    def __init__(
        self,
        *args: Any,
        strategy: Strategy[Any] | str | Sequence[Part] | None = None,
        strategy_options: Mapping[str, Any] | None = None,
        controller: Controller | None = None,
        difficulty: Difficulty | None = None,
        apply: bool | None = None,
        id_column: str | None = None,
        prior_column: str | None = None,
        correct: Correct | None = None,
        process: Correct | None = None,
        prompt_equal: bool | None = None,
        memory_bytes: int | None = None,
        memory_episodes: bool | None = None,
        gdro_log: Console | None = None,
        resume_keys: ResumeKeys | None = None,
        generation: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in OWN}
        config: Any = kwargs.get("args", args[2] if len(args) > 2 else None)
        dataset: Any = kwargs.get("train_dataset", args[3] if len(args) > 3 else None)
        mean: Any = (config or GRPOConfig).num_generations
        own = settled(config, **given)
        check_order(type(self), GDROMixin, GRPOTrainer)
        checks.check_arguments(dataset, kwargs, type(self))
        check_options(config)
        if controller is None:
            part = checks.resolve_strategy(own.strategy, own.strategy_options, mean)
            columns, separate = wanted_columns(part, own.difficulty), not (own.apply and part.roles)
        else:
            part, columns = controller.strategy, ()
            separate = controller.problem.num_prompts == len(dataset)
        check_images(dataset, part)
        prompts = kwargs.get("environment_factory") is None
        self._pool = dataset_pool(dataset, own.id_column, own.prior_column, columns, separate, prompts)
        problem = self._pool.problem
        if controller is not None:
            checks.check_controller(controller, problem, own.of_controllers, mean)
        self.prompt_equal, self._gdro_resume_keys = own.prompt_equal, own.resume_keys
        self._gdro_unjudged, self._gdro_turns = metrics.Unjudged(), TurnCounter()
        super().__init__(*args, **kwargs)
        if self.rollout_func is not None:
            self.rollout_func = CheckedRollouts(self.rollout_func)
        checks.check_config(self.args)
        check_names(self.reward_func_names, own.correct)
        if own.gdro_log == "brief":
            shorten(self.callback_handler)
        self.decoder = checks.resolve_generation(own.generation, self)
        self._gdro_judging = Judging(self, own.correct, own.process, dataset.column_names)
        check_process(own.process, part)
        self.controller = controller or Controller(
            part, problem, seed=self.args.seed, difficulty=own.difficulty, apply=own.apply
        )
        checks.check_strategy(self, part)
        if part.remembers:
            self._gdro_memory = TrlMemory(self, problem, own.memory_bytes, own.memory_episodes)
        self._gdro_announce(len(dataset))

    def _gdro_announce(self, num_rows: int) -> None:
        """Refuse a run in which no step could be planned, and print what is about to run."""
        controller, num_prompts = self.controller, self.controller.problem.num_prompts
        check_size(num_rows, num_prompts, self.args, controller.selects)
        prompts = self.args.generation_batch_size // self.num_generations
        if not controller.selects:
            check_copies(self._pool.count_N, controller.strategy, prompts, self.num_generations)
        visits = expected_visits(self.args, num_rows, num_prompts)
        if controller.apply and self.accelerator.is_main_process:
            warn_of_idle(controller, self.args, visits)
        condition = condition_of(controller.strategy, self.num_generations)
        self._gdro_luck = LuckWatch(condition if self.accelerator.is_main_process else "")
        say(start_line(controller, self._gdro_judging.judge.text, prompts, visits, condition), self)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            with recorded_rewards(self, self._gdro_judging.ask) as seen:
                output = super()._generate_and_score_completions(inputs)
            metrics.record_held_out(self, self._gdro_judging.held_out(seen[0]))
            return output
        self._gdro_close()
        self._gdro_open_log()
        offered_R = self._pool.apart(gather_object(self._pool.indices(inputs)), self.num_generations)
        plan = self._gdro_plan(offered_R)
        first = self.accelerator.process_index * len(inputs)
        index_R = offered_R[first : first + len(inputs)]
        offered: dict[int, list[dict[str, Any]]] = {}
        for index, row in zip(index_R, inputs, strict=True):
            offered.setdefault(index, []).append(row)
        rounds = [self._gdro_generate(offered, plan.prompt_R)]
        outcome = self._gdro_outcome(plan.ticket, plan.prompt_R, rounds[0][1])
        processes = self.accelerator.num_processes
        while (extension := self.controller.extend(outcome, processes)) is not None:
            rounds.append(self._gdro_generate(offered, extension.prompt_R))
            further = self._gdro_outcome(plan.ticket, extension.prompt_R, rounds[-1][1])
            outcome = outcome.joined(further)
        self.last_plan = plan
        rewards_RK = torch.cat([rewards for _, (rewards, _) in rounds])
        weights = self.controller.weigh(outcome)
        self._gdro_luck.see(plan, weights)
        batches = [batch for batch, _ in rounds]
        return self._gdro_batch(TrlStep(plan, outcome, rewards_RK, batches, weights, self))

    def adjust_advantages(
        self, advantages: torch.Tensor, outcome: Outcome, weights: Weights
    ) -> torch.Tensor:
        """Change advantages before the loss takes them; a subclass overrides this method for that.

        Every rank calls it with the same values and must return the same. A step with a memory calls it
        twice, without and with the recalled rollouts. The advantages of rows that a strategy dropped
        stay zero, and those of recalled rollouts stay as they are, whatever it returns.

        Args:
            advantages: Advantage of every rollout of the step, weights included, shape (R,).
            outcome: Prompt, reward, verdict and tokens of each rollout, in the same order; rollouts of
                further rounds follow those of the plan.
            weights: The strategy's weights of the rollouts.

        Returns:
            The new advantages, finite numbers, shape (R,).
        """
        return advantages

    def _gdro_batch(self, step: TrlStep) -> dict[str, Any]:
        """This rank's batch with its advantages; closes the plan unless its losses are needed."""
        scored = fresh = step.score()
        output, chosen_R = step.rows(fresh.keep_R)
        local, rank = len(output["advantages"]), self.accelerator.process_index
        mine_R = chosen_R[rank * local : (rank + 1) * local]
        collector = joining = None
        if self.controller.strategy.needs_loss:
            collector = LossCollector(fresh.base_R, mine_R)
            output |= collector.columns
        if self._gdro_memory is not None:
            scored, joining = self._gdro_memory.recall(step, fresh, chosen_R)
        output["advantages"] = scored.advantage_R[mine_R].to(output["advantages"].dtype)
        metrics.patch_logs(self, scored.advantage_R, fresh.zero_R)
        if self._gdro_memory is not None and joining is not None:
            output = self._gdro_memory.join(output, joining, scored, chosen_R)
        if collector is None:
            self._gdro_observe(step.outcome, None)
            return output
        if joining is not None:
            collector.replaced(joining.placed.row_M)
        self._gdro_losses = (step.outcome, collector)
        return output

    def _gdro_generate(
        self, offered: dict[int, list[dict[str, Any]]], prompt_R: IntArray
    ) -> tuple[dict[str, Any], Seen]:
        """Generate and score rollouts: this rank's batch, and the rewards of all ranks."""
        mean, rank = self.num_generations, self.accelerator.process_index
        local = len(prompt_R) // self.accelerator.num_processes
        planned_R = prompt_R[rank * local : (rank + 1) * local]
        rows = self._pool.rows(planned_R, offered, self.train_dataset)
        try:
            # One generation a row: TRL then neither averages over fixed groups nor asks a vLLM
            # server for prompts[::n]. The advantages it computes are replaced.
            self.num_generations, self._gdro_planned = 1, planned_R.tolist()
            with recorded_rewards(self, self._gdro_judging.ask) as seen:
                output = super()._generate_and_score_completions(rows)
        finally:
            self.num_generations, self._gdro_planned = mean, ()
        if self.rollout_func is not None:
            output = with_tool_mask(output)
        check_pixels(output, self.controller.strategy)
        self._gdro_turns.see(output)
        return output, seen[0]  # gathered: the same on every rank

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        if self.decoder is None:
            return super()._generate_single_turn(*args, **kwargs)
        with self.decoder.standing_in(self.accelerator.unwrap_model(self.model_wrapped)):
            return super()._generate_single_turn(*args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        write_completions(self, completions)
        return rewards

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._gdro_logps = result[0]
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        check_planned(self.last_plan is not None or not model.training, type(self))
        loss = super()._compute_loss(model, inputs)
        if self._gdro_losses is not None and ROW in inputs:
            self._gdro_losses[1].add(self._gdro_logps, inputs, self.args)
        self._gdro_logps = None
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self._gdro_close()  # otherwise losses are still to come, and saving must not change the run
        metrics.compare_ranks(self)
        folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        path = Path(self._get_output_dir(trial=trial)) / folder
        with written(path):
            if self.args.should_save:
                # Before the trainer's own files: its state file, written last, marks a whole checkpoint.
                mark_incomplete(path)
                self.controller.save(path / STATE_FILE)
                self._gdro_judging.judge.save(path)
                if self._gdro_memory is not None:
                    self._gdro_memory.save(path)
            super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            restore(self, Path(checkpoint), self._gdro_resume_keys)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as GRPOTrainer does; True resumes from the newest checkpoint that is whole."""
        resume = resolved(resume_from_checkpoint, self.args.output_dir, lambda line: say(line, self))
        try:
            result = super().train(resume, *args, **kwargs)
            self._gdro_close()  # the last plan's losses came after the last update
        finally:
            if self.controller.log is not None:
                self.controller.log.release()
        metrics.compare_ranks(self)
        return result

    def _gdro_open_log(self, resumed: bool = False) -> None:
        if self.controller.log is None and self.accelerator.is_main_process:
            self.controller.log = opened_log(self, resumed)

    def _gdro_plan(self, offered_R: list[int]) -> Plan:
        """Plan as late as possible, so that beliefs include every group scored so far."""
        if self.controller.selects:
            request = Request(len(offered_R) // self.num_generations, len(offered_R))
        else:
            # Copies of a row are one prompt, which gets the rollouts of all of them.
            offered_P = list(dict.fromkeys(offered_R[:: self.num_generations]))
            request = Request(len(offered_P), len(offered_R), np.array(offered_P))
        plan = self.controller.plan(request)
        # Before anything is generated: ranks with different plans would wait for each other.
        metrics.compare_ranks(self)
        return plan

    def _gdro_outcome(self, ticket: int, prompt_R: IntArray, seen: Seen) -> Outcome:
        tokens = torch.tensor(self._gdro_tokens, device=self.accelerator.device)
        tokens_R: Any = self.accelerator.gather(tokens)
        verdicts = self._gdro_judging.verdicts(ticket, prompt_R, seen)
        return outcome_of(ticket, prompt_R, tokens_R, seen[0], self.reward_weights, verdicts)

    def _gdro_observe(self, outcome: Outcome, loss_R: Any) -> None:
        extra = {"step": self.state.global_step, "epoch": float(self.state.epoch or 0.0)}
        memory = self._gdro_memory
        own, recalled = ({}, (0, 0)) if memory is None else (memory.metrics(), memory.recalled)
        turns = self._gdro_turns.pop(self.accelerator)
        extra |= self._gdro_unjudged.pop(self.accelerator) | own | turns
        self.controller.observe(outcome, loss_R, extra=extra, recalled=recalled)
        values = self.controller.metrics() | self.controller.curriculum()
        values |= {f"gdro/{name}": value for name, value in (own | turns).items()}
        metrics.record(self._metrics["train"], values)

    def _gdro_close(self) -> None:
        """Close the plan whose losses were collected since the last generation, if there is one."""
        if self._gdro_losses is None:
            return
        (outcome, collector), self._gdro_losses = self._gdro_losses, None
        loss_R = collector.over_ranks(self.accelerator)
        if bool(loss_R.isnan().any()):
            # Training stopped inside the generation batch: some rollouts were never used.
            self.controller.abandon(outcome.ticket)
            return
        self._gdro_observe(outcome, loss_R.cpu().numpy())


class GDROTrainer(GDROMixin, GRPOTrainer):
    """GRPOTrainer with a controller. Arguments as `GDROMixin` and `trl.GRPOTrainer`."""
