"""verl's synchronous trainer with a controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, open_dict
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSync, register_trainer
from verl.utils import tensordict_utils as tu
from verl.utils.dataset.rl_dataset import collate_fn

from gdro.controller import Controller
from gdro.errors import UnsupportedError
from gdro.integrations.pool import prompt_text, wanted_columns
from gdro.integrations.verl.options import check_config, options_of
from gdro.integrations.verl.prompts import prompts_of
from gdro.integrations.verl.queue import reward_extra
from gdro.integrations.verl.sampler import PlanSampler
from gdro.integrations.verl.seam import after_advantages
from gdro.integrations.verl.step import factors, outcome_of, rows_of
from gdro.runlog import RunLog
from gdro.types import IntArray, Plan, Request

STATE_FILE = "gdro.npz"
LOG_FOLDER = "gdro"


@register_trainer("gdro")
class GDROTrainer(PPOTrainerSync):
    """verl's synchronous trainer with a controller; options under `+gdro.*` (`VerlOptions`).

    Args:
        config: verl's configuration.

    Raises:
        UnsupportedError: An option of verl or the strategy cannot work here.
        StrategyError: A strategy or option is unknown.
    """

    controller: Controller

    def __init__(self, config: DictConfig) -> None:
        self._gdro = options_of(config)
        self._strategy, self._difficulty = self._gdro.make()
        check_config(config, self._strategy)
        self._plan: Plan | None = None
        self._groups: dict[str, int] = {}
        with open_dict(config):
            # verl takes every other name for an asynchronous mode.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        if self._gdro.poll_interval is not None:
            self.replay_buffer.poll_interval = self._gdro.poll_interval

    # -- the step -----------------------------------------------------------------------------

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        columns = wanted_columns(self._strategy, self._difficulty)
        table = self.train_dataset.dataframe
        self._prompts = prompts_of(table, self._gdro.id, self._gdro.prior, columns)
        self.controller = Controller(
            self._strategy, self._prompts.problem, seed=self._gdro.seed, difficulty=self._difficulty,
            apply=self._gdro.apply,
        )  # fmt: skip
        if self.controller.selects:
            # No loader processes: they would fetch prompts before the beliefs that choose them.
            self.train_dataloader = StatefulDataLoader(
                self.train_dataset, batch_size=self.config.data.train_batch_size, num_workers=0,
                drop_last=True, collate_fn=collate_fn,
                sampler=PlanSampler(self.train_dataset, self._draw),
            )  # fmt: skip

    def _request(self, offered_P: IntArray | None) -> Request:
        prompts = self.config.data.train_batch_size
        return Request(prompts, prompts * self.config.actor_rollout_ref.rollout.n, offered_P)

    def _draw(self) -> IntArray:
        self._plan = self.controller.plan(self._request(None))
        return self._plan.prompt_P

    def _submit_batch_to_rollout(self, batch: Any) -> int:
        prompt_P = self._prompts.rows(batch)
        if not self.controller.selects:
            self._plan = self.controller.plan(self._request(prompt_P))
        plan = self._plan
        assert plan is not None
        place = {prompt: p for p, prompt in enumerate(plan.prompt_P.tolist())}
        places = [place[prompt] for prompt in prompt_P.tolist()]
        self._groups = {str(uid): p for uid, p in zip(batch["uid"], places, strict=True)}
        tu.assign_non_tensor_stack(batch, "__rollout_n__", plan.rollouts_P[places].tolist())
        return super()._submit_batch_to_rollout(batch)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        def weigh(data: Any, keys: list[str]) -> None:
            metrics.update(self._weigh(data, keys, batch.partition_id))

        with after_advantages(weigh):
            return super()._compute_advantage(batch, metrics)

    def _weigh(self, data: Any, keys: list[str], partition: str) -> dict[str, float]:
        """Multiply advantages in place and close the plan; what to log."""
        plan, self._plan = self._plan, None
        assert plan is not None
        rows = rows_of(keys, self._groups, plan)
        reward_B = data.batch["rm_scores"].sum(1).double().numpy()
        tokens_B = data.batch["response_mask"].sum(1).long().numpy()
        name = self._gdro.correct
        judged_B = reward_B if name is None else reward_extra(keys, partition, name)
        outcome = outcome_of(plan, rows, reward_B, judged_B > self._gdro.threshold, tokens_B)
        factor_B, dropped = factors(plan, rows, self.controller.weigh(outcome))
        if bool(np.any(factor_B != 1.0)):
            data.batch["advantages"] *= data.batch["advantages"].new_tensor(factor_B).unsqueeze(1)
        extra = {"step": self.global_steps, "dropped_groups": dropped}
        self.controller.observe(outcome, extra=extra)
        counted = {
            "gdro/dropped_groups": dropped,
            "gdro/missing": plan.num_rollouts - len(rows.row_S),
            "gdro/padding": int((rows.session_B < 0).sum()),
        }
        logged = self.controller.metrics() | self.controller.curriculum() | counted
        return {name: float(value) for name, value in logged.items()}

    # -- checkpoints --------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        # Before verl's own files: the step that it writes last is what a resumed run looks for.
        local = Path(self.config.trainer.default_local_dir)
        self.controller.save(local / f"global_step_{self.global_steps}" / STATE_FILE)
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        trainer = self.config.trainer
        local = Path(trainer.default_local_dir)
        log = RunLog(Path(self._gdro.log) if self._gdro.log else local / LOG_FOLDER)
        self.controller.log = log
        if not self.global_steps:
            log.set_aside()
        texts = map(prompt_text, self.train_dataset.dataframe[self.train_dataset.prompt_key])
        log.write_prompts(zip(self._prompts.problem.prompt_keys, texts, strict=True))
        if not self.global_steps:
            return
        given = trainer.resume_mode == "resume_path"
        folder = Path(trainer.resume_from_path) if given else local / f"global_step_{self.global_steps}"
        self.controller.load(folder / STATE_FILE)


def _refuse_elsewhere() -> None:
    """Other trainers would ignore `+gdro` without a word."""
    start = PPOTrainer.__init__

    def checked(self: PPOTrainer, config: DictConfig) -> None:
        if config.get("gdro") is not None and not isinstance(self, GDROTrainer):
            raise UnsupportedError(
                "+gdro is given, and ignored by "
                f"trainer.v1.trainer_mode={config.trainer.v1.trainer_mode}; write "
                "trainer.v1.trainer_mode=gdro, which is synchronous (asynchronous modes train on "
                "rollouts of older plans, which gdro cannot follow in verl yet)"
            )
        start(self, config)

    PPOTrainer.__init__ = checked


_refuse_elsewhere()
