"""Memory in TRL: remembered rollouts join the batch, the same ones on every rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object

from gdro.errors import UnsupportedError
from gdro.groups import differing_rows
from gdro.integrations.trl.batches import LOGPS, padded_tensors, replace_rows
from gdro.integrations.trl.losses import ADVANTAGE, ROW
from gdro.integrations.trl.step import Replays, Scored, TrlStep
from gdro.integrations.trl.turns import elsewhere, loss_mask, warn_of_no_memory, with_tool_mask
from gdro.memory.correction import clipped, decoupled
from gdro.memory.joining import Joining, memory_metrics, recalled, rows_to_store
from gdro.memory.placing import place
from gdro.memory.store import STORE_FILE, RolloutStore, StoredRollout
from gdro.numerics.arrays import BoolArray, IntArray
from gdro.problem import Problem
from gdro.types import Correction

_ROUNDING = 0.01  # advantages that come from rounding of equal rewards are below


def check_memory(args: Any, router_coef: float = 0.0) -> None:
    """Refuse options under which no row can be replaced.

    Args:
        args: The trainer's GRPOConfig.
        router_coef: Coefficient of a mixture of experts' balancing loss; 0: it is off.

    Raises:
        UnsupportedError: One of them is set.
    """
    router = f"router_aux_loss_coef={router_coef}"
    for used, what, fix in (
        (args.beta != 0.0, f"beta={args.beta}: its KL term", "beta=0.0"),
        (args.entropy_coef != 0.0, f"entropy_coef={args.entropy_coef}: its bonus", "entropy_coef=0.0"),
        (args.use_adaptive_entropy, "adaptive entropy: its bonus", "use_adaptive_entropy=False"),
        (router_coef != 0.0, f"a mixture of experts: {router}", "router_aux_loss_coef=0.0"),
    ):
        if used:
            raise UnsupportedError(
                f"memory cannot be combined with {what} gives every row a gradient, so none can make "
                f"room for a remembered one; set {fix} or leave memory out, e.g. "
                "strategy='rollout-gdro'"
            )
    if args.multi_objective_aggregation != "sum_then_normalize":
        raise UnsupportedError(
            "memory needs multi_objective_aggregation='sum_then_normalize': with the other, groups that "
            "agree have a gradient too, so none can make room"
        )


class TrlMemory:
    """Stores successful rollouts, and replaces rows without gradient by recalled ones.

    Args:
        trainer: The trainer.
        problem: The dataset.
        max_bytes: Most bytes of the store.
        episodes: Whether rollouts are stored in which a tool, an environment or a rollout function had a
            part.

    Raises:
        UnsupportedError: An option of the trainer cannot work with recalled rows.
    """

    def __init__(self, trainer: Any, problem: Problem, max_bytes: int, episodes: bool = True) -> None:
        if not episodes:
            warn_of_no_memory(trainer)
        coef = trainer.router_aux_loss_coef if trainer.aux_loss_enabled else 0.0
        check_memory(trainer.args, coef)
        vocabulary = trainer.model.config.get_text_config().vocab_size
        self.store = RolloutStore(problem, max_bytes, vocabulary, trainer.reward_func_names)
        self._trainer, self._episodes = trainer, episodes
        self._last: Joining | None = None
        self._correction: Correction = "none"
        self._rows = 1

    @property
    def recalled(self) -> tuple[int, int]:
        """Number of rows that joined in the last step, and of their tokens."""
        return recalled(self._last)

    def metrics(self) -> dict[str, float]:
        """Scalars of the last step and of the store."""
        return memory_metrics(self._last, self.store, self._rows, self._trainer.reward_func_names)

    def recall(self, step: TrlStep, fresh: Scored, chosen_R: IntArray) -> tuple[Scored, Joining | None]:
        """The rollouts that join this step (None: none), and all advantages with them; stores successes.

        `chosen_R` has the rows of all ranks that the loss takes.
        """
        self._rows = len(chosen_R)
        advantage_R = fresh.advantage_R.double().cpu().numpy()
        # The mean of equal rewards may differ from them by rounding, which scaling makes larger.
        rounding_R = ~differing_rows(step.outcome) & (np.abs(advantage_R) < _ROUNDING)
        advantage_R = np.where(rounding_R, 0.0, advantage_R)
        stored = self.store.rollouts
        placed = place(step.weights, step.outcome, advantage_R, chosen_R, stored, self._least_likely)
        # Read before this step's successes replace earlier ones.
        self._last = None if placed is None else Joining.of(placed, self.store)
        self._correction = step.weights.correction
        self._remember(step, advantage_R)
        replays = None
        if placed is not None and placed.replays and self._last is not None:
            replays = Replays(placed.replays, self._last.rewards_MK)
        return (fresh if replays is None else step.score(replays)), self._last

    def join(
        self, batch: dict[str, Any], joining: Joining, scored: Scored, chosen_R: IntArray
    ) -> dict[str, Any]:
        """This rank's batch in which its share of the recalled rollouts replaced rows."""
        local, rank = len(batch["advantages"]), self._trainer.accelerator.process_index
        place_M = np.searchsorted(chosen_R, joining.placed.row_M)
        mine = np.flatnonzero(place_M // local == rank)
        rows, factor_MT = self._values(batch, joining, scored)
        taken = torch.as_tensor(mine, device=batch["completion_ids"].device)
        rows = {name: value[taken] for name, value in rows.items()}
        if any(rollout.loss_mask is not None for rollout in joining.rollouts):
            batch = with_tool_mask(batch)
        position_M = place_M[mine] - rank * local
        result = replace_rows(batch, rows, position_M, self._pad_id)
        if factor_MT is not None:
            result["advantages"] = by_token(result, factor_MT[taken], position_M)
        gather = self._trainer.accelerator.gather
        result["num_items_in_batch"] = gather(loss_mask(result).sum()).sum()
        return result

    def save(self, folder: Path) -> None:
        """Write the store beside a checkpoint's other files."""
        self.store.save(folder / STORE_FILE)

    def _remember(self, step: TrlStep, advantage_R: npt.NDArray[np.float64]) -> None:
        """Store the rows to remember of each prompt, the same on every rank."""
        weights = step.weights
        if weights.remember_R is None:
            return
        if not self._episodes:
            weights = replace(weights, remember_R=self._without_episodes(weights.remember_R, step))
        groups = rows_to_store(weights, step.outcome)
        rows = [row for group in groups.values() for row in group]
        tokens = _tokens_of(sorted(rows), step.batches, self._trainer.accelerator)
        rewards_RK = step.rewards_RK.float().cpu().numpy()
        stored = {row: tokens[row].stored(rewards_RK[row].copy()) for row in rows}
        if weights.remember == "group" and rows:
            then = self._logps(self._tensors([stored[row] for row in rows], step.rewards_RK.device))
            for row, logps in zip(rows, then.float().cpu().numpy(), strict=True):
                own = logps[: len(stored[row].completion_ids)].copy()
                was = {"advantage": float(advantage_R[row]), "step": step.plan.ticket}
                stored[row] = replace(stored[row], logps=own, **was)
        for prompt, group in groups.items():
            # A truncated answer may be masked out whole.
            rollouts = [stored[row] for row in group if stored[row].own_tokens]
            if rollouts or weights.remember == "group":
                self.store.put(prompt, *rollouts)
        if weights.remember == "group":  # by plans, as their strategies count
            self.store.expire(step.plan.ticket - self._trainer.controller.strategy.keeps_for)

    def _without_episodes(self, remember_R: BoolArray, step: TrlStep) -> BoolArray:
        """Which of the rows are of the model alone, or for groups, of groups that are."""
        if elsewhere(self._trainer):
            return np.zeros_like(remember_R)
        rows = np.flatnonzero(remember_R).tolist()
        tokens = _tokens_of(rows, step.batches, self._trainer.accelerator)
        mixed = np.array([row for row in rows if not tokens[row].own.all()], np.int64)
        left_R = remember_R.copy()
        left_R[mixed] = False
        if step.weights.remember == "group":
            left_R &= ~np.isin(step.outcome.prompt_R, step.outcome.prompt_R[mixed])
        return left_R

    @property
    def _pad_id(self) -> int:
        return self._trainer._tokenizer.pad_token_id

    def _tensors(
        self, rollouts: Sequence[StoredRollout], device: torch.device
    ) -> dict[str, torch.Tensor]:
        return padded_tensors(rollouts, self._pad_id, self._trainer.args.pad_to_multiple_of, device)

    def _values(
        self, batch: dict[str, Any], joining: Joining, scored: Scored
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Every tensor of the batch for the recalled rows of all ranks, and factors on their tokens."""
        num, device = len(joining.rollouts), batch["completion_ids"].device
        rows = self._tensors(joining.rollouts, device)
        advantage_M = torch.tensor(joining.anchors, dtype=torch.float64, device=device)
        rows["advantages"] = torch.cat([scored.replay_M.double(), advantage_M])
        rows[ROW] = torch.full((num,), -1, device=device)
        rows[ADVANTAGE] = torch.zeros(num, device=device)
        if "importance_sampling_ratio" in batch:
            # One for each token, or one for the row.
            token_level = self._trainer.args.vllm_importance_sampling_mode.startswith("token")
            shape = rows["completion_ids"].shape if token_level else (num, 1)
            rows["importance_sampling_ratio"] = torch.ones(shape, device=device)
        keeps_logps = any(name in batch for name in LOGPS)
        if not keeps_logps and self._correction == "none":
            return rows, None
        # Computed anew, as if on policy: stored log-probabilities made no difference in our trials.
        now_MT = self._logps(rows)
        rows |= dict.fromkeys(LOGPS, now_MT)
        if self._correction == "none":
            return rows, None
        then_MT = _then(joining.rollouts, now_MT)
        if self._correction == "clipped" and keeps_logps:
            rows |= dict.fromkeys(LOGPS, then_MT)  # the loss itself clips against that policy
            return rows, None
        return rows, self._factors(now_MT, then_MT, rows["advantages"])

    def _factors(
        self, now_MT: torch.Tensor, then_MT: torch.Tensor, advantage_M: torch.Tensor
    ) -> torch.Tensor:
        now, then = (x.double().cpu().numpy() for x in (now_MT, then_MT))
        if self._correction == "decoupled":
            factor_MT = decoupled(now, then)
        else:
            low, high = self._trainer.epsilon_low, self._trainer.epsilon_high
            factor_MT = clipped(now, then, advantage_M.double().cpu().numpy(), low, high)
        return torch.as_tensor(factor_MT, device=now_MT.device)

    def _rollouts(self, prompt_M: IntArray) -> tuple[StoredRollout, ...]:
        return tuple(self.store[prompt] for prompt in prompt_M.tolist())

    def _logps(self, rows: dict[str, torch.Tensor]) -> torch.Tensor:
        trainer = self._trainer
        ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1)
        mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], dim=1)
        size = trainer.args.per_device_train_batch_size
        width = rows["completion_ids"].shape[1]
        with torch.no_grad():
            return trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, mask, width, batch_size=size
            )[0]

    def _least_likely(self, prompt_M: IntArray) -> list[int]:
        rows = self._tensors(self._rollouts(prompt_M), self._trainer.accelerator.device)
        total_M = (self._logps(rows) * loss_mask(rows)).sum(dim=1)
        order = torch.argsort(total_M, stable=True).tolist()
        # Ranks may round differently; all take the order of the first.
        return gather_object([order])[0]


class _Tokens(NamedTuple):
    """Tokens of a rollout without padding, and which of the answer's the model wrote."""

    prompt_ids: npt.NDArray[np.int32]
    completion_ids: npt.NDArray[np.int32]
    own: BoolArray

    def stored(self, rewards_K: npt.NDArray[np.float32]) -> StoredRollout:
        """The rollout with its rewards."""
        mask = None if self.own.all() else self.own
        return StoredRollout(self.prompt_ids, self.completion_ids, rewards_K, mask)


def by_token(batch: dict[str, Any], factor_MT: torch.Tensor, position_M: IntArray) -> torch.Tensor:
    """Advantages for each token of a batch, shape (rows, T): those of some rows times factors."""
    advantage_R = batch["advantages"]
    factor_RT = torch.ones_like(batch["completion_ids"], dtype=advantage_R.dtype)
    where = torch.as_tensor(position_M, device=advantage_R.device)
    width = min(factor_MT.shape[1], factor_RT.shape[1])
    factor_RT[where, :width] = factor_MT[:, :width].to(advantage_R.dtype)
    return advantage_R.unsqueeze(1) * factor_RT


def _then(rollouts: Sequence[StoredRollout], now_MT: torch.Tensor) -> torch.Tensor:
    """Log-probabilities under the policies that generated rollouts, those of now elsewhere, (M, T)."""
    then_MT = now_MT.clone()
    for m, rollout in enumerate(rollouts):
        if rollout.logps is not None:
            then_MT[m, : len(rollout.logps)] = torch.as_tensor(rollout.logps).to(then_MT)
    return then_MT


def _tokens_of(
    rows: list[int], batches: Sequence[dict[str, Any]], accelerator: Any
) -> dict[int, _Tokens]:
    """Tokens by row, of some of all ranks' rows."""
    own: dict[int, _Tokens] = {}
    start = 0
    for batch in batches:
        local = len(batch["completion_ids"])
        first = start + accelerator.process_index * local
        mine = [row for row in rows if first <= row < first + local]
        own |= zip(mine, _tokens(batch, [row - first for row in mine]), strict=True)
        start += local * accelerator.num_processes
    parts = gather_object([own])
    return {row: tokens for part in parts for row, tokens in part.items()}


def _tokens(batch: dict[str, Any], rows: list[int]) -> Iterator[_Tokens]:
    """Tokens of rows of a batch, read from the device at once."""
    place = torch.as_tensor(rows, dtype=torch.long, device=batch["completion_ids"].device)

    def host(values: torch.Tensor) -> npt.NDArray[Any]:
        return values[place].cpu().numpy()

    masks = host(batch["prompt_mask"]) != 0, host(batch["completion_mask"]) != 0
    prompt_ids, completion_ids, own = (
        host(values) for values in (batch["prompt_ids"], batch["completion_ids"], loss_mask(batch))
    )
    for m, (asked, answered) in enumerate(zip(*masks, strict=True)):
        yield _Tokens(
            prompt_ids[m][asked].astype(np.int32),
            completion_ids[m][answered].astype(np.int32),
            own[m][answered] != 0,
        )
