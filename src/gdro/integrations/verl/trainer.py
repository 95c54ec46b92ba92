"""verl's trainers with a controller: what all have, and the synchronous one."""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import numpy as np
from omegaconf import DictConfig, open_dict
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSync, register_trainer
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn

from gdro.controller import Controller
from gdro.errors import UnsupportedError
from gdro.integrations.dataset import prompt_text, wanted_columns
from gdro.integrations.verl import checkpoints
from gdro.integrations.verl.memory import VerlMemory
from gdro.integrations.verl.options import MODES, Resume, check_config, check_media, options_of
from gdro.integrations.verl.patches import around_advantages, without_rows
from gdro.integrations.verl.prompts import prompts_of, table_of
from gdro.integrations.verl.queue import (
    clear,
    put,
    reward_counts,
    reward_extra,
    reward_extras,
    scores,
    tensors,
)
from gdro.integrations.verl.rounds import BufferInRounds
from gdro.integrations.verl.sampler import PlanSampler
from gdro.integrations.verl.step import RowScores, VerlStep, fix, scale
from gdro.log.run_log import RunLog
from gdro.memory.store import RolloutStore
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.types import Request

LOG_FOLDER = "gdro"


class Controlled(PPOTrainer):
    """One of verl's trainers, which a class derives from after this one, with a controller.

    Args:
        config: verl's configuration; options under `+gdro.*` (`VerlOptions`).

    Raises:
        UnsupportedError: An option of verl or the strategy cannot work here.
        StrategyError: A strategy or option is unknown.
    """

    mode: ClassVar[str]  # verl's name of its own trainer's mode
    controller: Controller

    def __init__(self, config: DictConfig) -> None:
        self._gdro = options_of(config)
        self._strategy, self._difficulty = self._gdro.make(config.actor_rollout_ref.rollout.n)
        check_config(config, self._strategy, self.mode)
        self._step: VerlStep | None = None
        self._memory: VerlMemory | None = None
        with open_dict(config):
            # verl's options of a mode are under its own name.
            config.trainer.v1.trainer_mode = self.mode
        super().__init__(config)

    def _build_replay_buffer(self) -> Any:
        buffer = super()._build_replay_buffer()
        if self._gdro.poll_interval is not None:
            buffer.poll_interval = self._gdro.poll_interval
        return buffer

    # -- the step -----------------------------------------------------------------------------

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        columns = wanted_columns(self._strategy, self._difficulty)
        table = table_of(self.train_dataset)
        self._prompts = prompts_of(table, self._gdro.id, self._gdro.prior, columns)
        problem, seed, apply = self._prompts.problem, self._gdro.seed, self._gdro.apply
        self.controller = Controller(
            self._strategy, problem, seed=seed, difficulty=self._difficulty, apply=apply
        )
        if self._strategy.remembers:
            check_media(self.config.data, table.column_names)
            model: Any = omega_conf_to_dataclass(self.config.actor_rollout_ref.model)
            size: int = model.hf_config.get_text_config().vocab_size
            limit, keeps_for = self._gdro.memory_bytes, self._strategy.keeps_for
            self._memory = VerlMemory(self, problem, limit, size, keeps_for)

    def _request(self, num_prompts: int, offered_P: IntArray | None) -> Request:
        return Request(num_prompts, num_prompts * self.config.actor_rollout_ref.rollout.n, offered_P)

    def _batch_of(self, prompts: list[int]) -> Any:
        """A batch of rows of the dataset, as verl's loader gives it."""
        rows = collate_fn([self.train_dataset[prompt] for prompt in prompts])
        rows["uid"] = np.array([str(uuid4()) for _ in prompts], dtype=object)
        batch = tu.get_tensordict(rows)
        tu.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        return batch

    @property
    def _opened(self) -> VerlStep:
        assert self._step is not None
        return self._step

    def _judged(self, keys: list[str], scored: tuple[FloatArray, IntArray]) -> RowScores:
        """Verdicts on rows, of which rewards and numbers of tokens are given."""
        reward_B, tokens_B = scored
        name, extras = self._gdro.correct, reward_extras(keys)
        judged_B = reward_B if name is None else reward_extra(extras, name)
        right_B, known_B = judged_B > self._gdro.threshold, ~np.isnan(judged_B)
        return RowScores(reward_B, right_B, tokens_B, known_B, reward_counts(extras))

    def _balance_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        # Rewards are known, the rollouts' memory is free, and log-probabilities are still to come.
        if self._memory is not None:
            step, keys = self._opened, batch.keys
            if not step.weighed:
                outcome = step.read(keys, self._judged(keys, scores(keys)))
                step.weigh(self.controller.weigh(outcome))
                self._memory.note(step, dict(zip(keys, batch.tags, strict=True)))
            self._memory.recall(batch, step)
        return super()._balance_batch(batch, *args, **kwargs)

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        """As verl does; rollouts of recalled rows count as drawn from the current policy."""
        recalled = sorted(self._opened.recalled)
        sampled = self.config.actor_rollout_ref.rollout.calculate_log_probs
        if self._memory is None or not recalled or not sampled:
            return super()._compute_old_log_prob(batch, metrics)
        correction = self.config.algorithm.get("rollout_correction")
        bypass = bool(correction and correction.get("bypass_mode"))
        if bypass:  # verl takes the rollout's, and computes none
            _assign(recalled, self._memory.score(batch, recalled))
        known = set(recalled)
        with without_rows([row for row, key in enumerate(batch.keys) if key in known]):
            batch = super()._compute_old_log_prob(batch, metrics)
        if not bypass:
            _assign(recalled, tensors(recalled, "old_log_probs"))
        return batch

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        def weigh(data: Any, keys: list[str]) -> None:
            metrics.update(self._weigh(data, keys))

        with around_advantages(self._opened.first_uid, weigh):
            return super()._compute_advantage(batch, metrics)

    def _weigh(self, data: Any, keys: list[str]) -> dict[str, float]:
        """Multiply advantages in place, close the plan, and return metrics."""
        step, self._step = self._opened, None
        if not step.weighed:
            outcome = step.read(keys, self._judged(keys, self._scored(data, keys)))
            step.weigh(self.controller.weigh(outcome))
        assert step.outcome is not None
        scale(data.batch["advantages"], step.factors(keys))
        fix(data.batch["advantages"], data.batch["response_mask"], keys, step.anchors)
        memory, counts = self._memory, step.counts(keys)
        own, recalled = ({}, (0, 0)) if memory is None else (memory.metrics(), memory.recalled)
        extra = {"step": self.global_steps} | counts | own
        self.controller.observe(step.outcome, extra=extra, recalled=recalled)
        counted = {f"gdro/{name}": value for name, value in (counts | own).items()}
        logged = self.controller.metrics() | self.controller.curriculum() | counted
        return {name: float(value) for name, value in logged.items()}

    def _scored(self, data: Any, keys: list[str]) -> tuple[FloatArray, IntArray]:
        """Reward and number of tokens of each row, which verl has read already."""
        correction = self.config.algorithm.get("rollout_correction")
        if correction and correction.get("rollout_rs"):  # took rejected tokens out of the mask
            return scores(keys)
        reward_B = data.batch["rm_scores"].sum(1).double().numpy()
        return reward_B, data.batch["response_mask"].sum(1).long().numpy()

    # -- checkpoints --------------------------------------------------------------------------

    @property
    def _store(self) -> RolloutStore | None:
        return None if self._memory is None else self._memory.store

    def _save_checkpoint(self) -> None:
        # Before verl's own files: it writes the number of the step last, which a resumed run reads.
        local = Path(self.config.trainer.default_local_dir)
        checkpoints.save(local / f"global_step_{self.global_steps}", self.controller, self._store)
        super()._save_checkpoint()

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        self._load_controller()

    def _load_controller(self) -> None:
        trainer = self.config.trainer
        local = Path(trainer.default_local_dir)
        log = RunLog(Path(self._gdro.log) if self._gdro.log else local / LOG_FOLDER)
        self.controller.log = log
        anew = not self.global_steps or self._gdro.resume == "fresh"
        if anew:
            log.set_aside()
        texts = map(prompt_text, table_of(self.train_dataset)[self.config.data.prompt_key])
        log.write_prompts(zip(self._prompts.problem.prompt_keys, texts, strict=True))
        if anew:
            return
        given = trainer.resume_mode == "resume_path"
        folder = Path(trainer.resume_from_path) if given else local / f"global_step_{self.global_steps}"
        keys = "match" if self._gdro.resume is Resume.match else "exact"
        checkpoints.load(folder, self.controller, self._store, keys)


@register_trainer("gdro")
class GDROTrainer(Controlled, PPOTrainerSync):
    """verl's synchronous trainer with a controller; arguments and errors are those of `Controlled`."""

    mode = "sync"

    def _build_replay_buffer(self) -> Any:
        buffer = super()._build_replay_buffer()
        return BufferInRounds(buffer, self._further, self._keep) if self._strategy.extends else buffer

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        if self.controller.selects:
            # Without worker processes, which would fetch prompts before the beliefs that select them.
            self.train_dataloader = StatefulDataLoader(
                self.train_dataset,
                batch_size=self.config.data.train_batch_size,
                num_workers=0,
                drop_last=True,
                collate_fn=collate_fn,
                sampler=PlanSampler(self.train_dataset, self._draw),
            )

    def _draw(self) -> IntArray:
        plan = self.controller.plan(self._request(self.config.data.train_batch_size, None))
        self._step = VerlStep(plan)
        return plan.prompt_P

    def _submit_batch_to_rollout(self, batch: Any) -> int:
        prompt_P = self._prompts.rows(batch)
        if not self.controller.selects:
            self._step = VerlStep(self.controller.plan(self._request(len(prompt_P), prompt_P)))
        plan = self._opened.plan
        rollouts = dict(zip(plan.prompt_P.tolist(), plan.rollouts_P.tolist(), strict=True))
        return self._submit(batch, prompt_P.tolist(), [rollouts[prompt] for prompt in prompt_P.tolist()])

    def _submit(self, batch: Any, prompts: list[int], rollouts: list[int]) -> int:
        self._opened.submit([str(uid) for uid in batch["uid"]], prompts, rollouts)
        tu.assign_non_tensor_stack(batch, "__rollout_n__", rollouts)
        return super()._submit_batch_to_rollout(batch)

    def _further(self, keys: list[str]) -> int:
        """Submit the strategy's next round, and return the number of its prompts."""
        extension = self.controller.extend(self._opened.read(keys, self._judged(keys, scores(keys))))
        if extension is None:
            return 0
        prompts = extension.prompt_P.tolist()
        return self._submit(self._batch_of(prompts), prompts, extension.rollouts_P.tolist())

    def _keep(self, keys: list[str]) -> list[str]:
        """Weigh all rounds, delete the rows beyond the size of the loss, and return the others."""
        step = self._opened
        assert step.outcome is not None
        step.weigh(self.controller.weigh(step.outcome))
        if self._memory is not None:
            self._memory.note(step, {})
        remaining = step.loss_keys()
        clear(sorted(set(keys) - set(remaining)))
        return remaining

    def _load_controller(self) -> None:
        """As the base class does; groups that an asynchronous run had in flight are given up."""
        super()._load_controller()
        self.controller.evict(self.controller.open_groups.group_P)


def _assign(keys: list[str], logps: list[Any]) -> None:
    put(keys, [{"rollout_log_probs": row.float()} for row in logps])


def _guard(trainer: type[Any]) -> None:
    """Make verl's other trainers refuse a configuration for gdro, which they would silently ignore."""
    start: Any = trainer.__init__

    def checked(self: Any, config: DictConfig, *args: Any, **kwargs: Any) -> None:
        mode, given = config.trainer.v1.trainer_mode, config.get("gdro") is not None
        if not isinstance(self, Controlled) and (given or mode in MODES.values()):
            raise UnsupportedError(
                f"gdro is asked for and ignored by trainer.use_v1={config.trainer.get('use_v1')} "
                f"trainer.v1.trainer_mode={mode}; write trainer.use_v1=true trainer.v1.trainer_mode="
                f"{MODES.get(mode, mode)} (allowed: {', '.join(MODES.values())})"
            )
        start(self, config, *args, **kwargs)

    setattr(trainer, "__init__", checked)  # noqa: B010  # a class's __init__ is read-only to pyright


def _others() -> list[type[Any]]:
    """verl's trainers; the V0 one is deprecated, and later versions may not have it."""
    try:
        from verl.trainer.ppo.ray_trainer import RayPPOTrainer
    except ImportError:
        return [PPOTrainer]
    return [PPOTrainer, RayPPOTrainer]


for _other in _others():
    _guard(_other)
