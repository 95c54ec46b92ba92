"""One run of a study: GRPO on a small decoder, driven by the same Controller as the trainers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gdro.controller import Controller
from gdro.errors import StudyError
from gdro.memory.advantages import WeightedRows
from gdro.memory.placing import Placed, place
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.numerics.passk import passk_unbiased
from gdro.study.decoder import Decoder, Rollouts
from gdro.study.grading import credit
from gdro.study.learner import Learner
from gdro.study.prefixes import FREE, Prefixes
from gdro.study.recalls import StoredRow, recalled_rows, stored_rows
from gdro.study.training import K, Training
from gdro.study.worlds import TAIL, World, successes
from gdro.types import Extension, Outcome, Plan, Request, Weights

EASY = 0.3


@dataclass
class Spent:
    """What a run has used so far: rollouts, tokens generated and trained on, optimiser steps."""

    rollouts: int = 0
    tokens: int = 0
    trained: int = 0
    updates: int = 0


@dataclass
class Luck:
    """Correct answers, and those reached by wrong work: fresh ones and ones recalled from memory."""

    fresh: int = 0
    fresh_wrong: int = 0
    replays: int = 0
    replays_wrong: int = 0
    anchors: int = 0
    anchors_wrong: int = 0


class Run:
    """One arm on one world; the model is trained in place."""

    def __init__(
        self, controller: Controller, world: World, model: Decoder, training: Training, seed: int
    ) -> None:
        self.controller, self.world, self.model = controller, world, model
        self.learner = Learner(model, training, seed)
        self.training, self.seed = training, seed
        self.spent, self.luck = Spent(), Luck()
        self._store: dict[int, tuple[StoredRow, ...]] = {}
        self._spoilt = 0  # rollouts of spoilt problems
        self.prefixes = Prefixes(training.prefix_below) if training.prefix_below else None
        self._continued_R = np.zeros(0, bool)  # rows of this step that continue from a prefix
        self._epochs = self._offers()

    def step(self, number: int) -> None:
        """Plan, generate, score, extend, learn, observe."""
        training = self.training
        num_rollouts = training.batch * training.rollouts
        offered = None
        if self.world.task.variant.once or not self.controller.selects:
            offered = next(self._epochs)
        plan = self.controller.plan(Request(training.batch, num_rollouts, offered))
        forced = self._forced(plan)
        rollouts = self._generate(plan, number, forced)
        outcome = self._judged(self._score(plan, rollouts, number))
        while (extension := self.controller.extend(outcome)) is not None:
            further = self._generate(extension, number)
            outcome = outcome.joined(self._score(extension, further, number))
            rollouts = rollouts.joined(further)
            more = np.zeros(len(extension.prompt_R), bool)
            self._continued_R = np.concatenate([self._continued_R, more])
        weights = self.controller.weigh(outcome)
        loss_R, recalled = self._learn(plan, outcome, weights, rollouts)
        self.controller.observe(outcome, loss_R, recalled=recalled)
        self.spent.rollouts += len(outcome.prompt_R)
        self._spoilt += int(self.world.spoilt_N[outcome.prompt_R].sum())
        self.spent.tokens += int(rollouts.mask_RG.sum())
        if self.prefixes is not None:
            self.prefixes.learn(outcome, self._continued_R)

    def spoilt_share(self) -> float | None:
        """Share of rollouts of spoilt problems over the share of these in the pool; None without any."""
        share = float(self.world.spoilt_N.mean())
        return self._spoilt / self.spent.rollouts / share if share else None

    def evaluate(self, samples: int) -> tuple[FloatArray, FloatArray]:
        """Mean and unbiased pass@8 of each held-out problem, shapes (H,)."""
        world, start = self.world, self.world.num_train
        problems = world.prompt_NW[start:], world.answer_NG[start:]
        right_H = successes(self.model, *problems, samples, 7_000_003 + self.seed, world.grader)
        return right_H / samples, passk_unbiased(right_H, np.full(len(right_H), samples), K)

    def _learn(
        self, plan: Plan, outcome: Outcome, weights: Weights, rollouts: Rollouts
    ) -> tuple[FloatArray, tuple[int, int]]:
        # Continuations are a group of their own.
        group_R = outcome.prompt_R + self.world.num_train * self._continued_R
        rows = replace(WeightedRows.of(outcome, weights), prompt_R=group_R)
        advantage, prompt_R = rows.advantage_R(), outcome.prompt_R
        base_R = replace(rows, weight_R=np.ones(len(prompt_R))).advantage_R()
        placed, recalled = self._placed(outcome, weights, advantage), (0, 0)
        fresh, own_R, weight_RG = rollouts, advantage, None
        if placed is not None:
            stored = [self._store[recall.prompt][recall.slot] for recall in placed.recalls]
            advantage = rows.advantage_with(placed, [row.advantage for row in stored])
            self._count_recalled(placed, stored)
            again, weight_MG = recalled_rows(stored, weights.correction, self.model)
            if weight_MG is not None:
                weight_RG = torch.cat([torch.ones_like(rollouts.mask_RG), weight_MG])
            rollouts = rollouts.joined(again)
            prompt_R = np.concatenate([prompt_R, placed.prompt_M])
            recalled = (len(stored), int(again.mask_RG.sum()))
        if self.training.prompt_mean:
            _, position_R, size_P = np.unique(prompt_R, return_inverse=True, return_counts=True)
            advantage = advantage * size_P.mean() / size_P[position_R]
        num_rows = plan.num_rollouts
        update = self.learner.update(rollouts, prompt_R, advantage, base_R, num_rows, weight_RG)
        loss_R, trained, updates = update
        self.spent.trained += trained
        self.spent.updates += updates
        # After the update, so that what joined is never this step's own.
        self._remember(outcome, weights, fresh, own_R)
        return loss_R, recalled

    def _remember(
        self, outcome: Outcome, weights: Weights, rollouts: Rollouts, advantage_R: FloatArray
    ) -> None:
        """Store rows to remember by prompt, and count the successes whose work is wrong."""
        start = self.model.shape.prompt
        work = self.world.work_NG[torch.from_numpy(outcome.prompt_R.copy())]
        wrong_R = ~(rollouts.tokens_RT[:, start:] == work).all(1).numpy()
        lucky_R = outcome.correct_R & wrong_R
        right_R = outcome.correct_R & outcome.judged_mask_R
        self.luck.fresh += int(right_R.sum())
        self.luck.fresh_wrong += int((right_R & wrong_R).sum())
        self._store |= stored_rows(outcome, weights, rollouts, advantage_R, lucky_R)

    def _count_recalled(self, placed: Placed, stored: list[StoredRow]) -> None:
        wrong = [row.lucky for row in stored]
        num = len(placed.replays)
        self.luck.replays += num
        self.luck.replays_wrong += sum(wrong[:num])
        self.luck.anchors += len(wrong) - num
        self.luck.anchors_wrong += sum(wrong[num:])

    def _placed(self, outcome: Outcome, weights: Weights, advantage_R: FloatArray) -> Placed | None:
        if not weights.recall:
            return None
        rows = np.flatnonzero(weights.keep_R)
        return place(weights, outcome, advantage_R, rows, self._store, self._least_likely)

    def _least_likely(self, prompt_M: IntArray) -> list[int]:
        stored = [self._store[prompt][0] for prompt in prompt_M.tolist()]
        tokens, mask = (torch.stack([getattr(r, n) for r in stored]) for n in ("tokens", "mask"))
        with torch.no_grad():
            total_M = (self.model.logp(tokens) * mask).sum(1)
        return torch.argsort(total_M, stable=True).tolist()

    def _forced(self, plan: Plan) -> torch.Tensor | None:
        """Prefixes of the plan's rollouts, None where all start anew."""
        self._continued_R = np.zeros(len(plan.prompt_R), bool)
        if self.prefixes is None:
            return None
        width = self.model.shape.prompt
        forced = self.prefixes.forced(plan, self.controller.belief, self._store, width)
        self._continued_R = (forced != FREE).any(1).numpy()
        return forced if self._continued_R.any() else None

    def _judged(self, outcome: Outcome) -> Outcome:
        """The outcome in which beliefs and the memory learn from no continuation."""
        if not self._continued_R.any():
            return outcome
        return replace(outcome, judged_R=outcome.judged_mask_R & ~self._continued_R)

    def _generate(
        self, plan: Plan | Extension, number: int, forced: torch.Tensor | None = None
    ) -> Rollouts:
        extra = plan.round if isinstance(plan, Extension) else 0
        generator = torch.Generator().manual_seed((self.seed * 100_003 + number) * 101 + extra)
        prompt = self.world.prompt_NW[torch.from_numpy(plan.prompt_P.copy())]
        rollouts_P = torch.from_numpy(plan.rollouts_P.copy())
        return self.model.generate(prompt, rollouts_P, generator, forced)

    def _score(self, plan: Plan | Extension, rollouts: Rollouts, number: int) -> Outcome:
        given = rollouts.tokens_RT[:, self.model.shape.prompt :]
        answer = self.world.answer_NG[torch.from_numpy(plan.prompt_R.copy())]
        right_R = self.world.grader.right(given, answer).numpy()
        noise = self.world.task.variant.verifier_noise
        if noise:
            extra = plan.round if isinstance(plan, Extension) else 0
            rng = np.random.default_rng([self.seed, 17, number, extra])
            right_R = right_R ^ (rng.random(len(right_R)) < noise)
        tokens_R = rollouts.mask_RG.sum(1).numpy().astype(np.int64)
        reward_R = right_R.astype(np.float64)
        if self.world.task.variant.credit:
            reward_R = credit(given, answer).numpy().astype(np.float64)
        sound_R = self._checked(plan, given, number)
        return Outcome(plan.ticket, plan.prompt_R, reward_R, right_R, tokens_R=tokens_R, sound_R=sound_R)

    def _checked(self, plan: Plan | Extension, given: torch.Tensor, number: int) -> BoolArray | None:
        """What a check of the work of some accuracy says of each row, shape (R,); None without one."""
        accuracy = self.world.task.variant.checker
        if accuracy is None:
            return None
        extra = plan.round if isinstance(plan, Extension) else 0
        rng = np.random.default_rng([self.seed, 23, number, extra])
        work = self.world.work_NG[torch.from_numpy(plan.prompt_R.copy())]
        return (given == work).all(1).numpy() ^ (rng.random(len(given)) >= accuracy)

    def _offers(self) -> Iterator[IntArray]:
        """Shuffled batches, epoch by epoch; the last partial batch is dropped.

        A batch that spans two epochs could hold a problem twice, which no plan does.
        """
        rng = np.random.default_rng([self.seed, 13])
        num, batch = self.world.num_train, self.training.batch
        while True:
            order_N = rng.permutation(num)
            for start in range(0, num - batch + 1, batch):
                yield order_N[start : start + batch]


def run(
    world: World, training: Training, model: Decoder, controller: Controller, seed: int
) -> dict[str, Any]:
    """Train one arm on one world, the model in place.

    Returns:
        Plain data: the scores reached, what they cost, and the learning curve.

    Raises:
        StudyError: Torch has several threads, or a batch needs more problems than there are.
    """
    if torch.get_num_threads() != 1:
        raise StudyError(
            f"torch has {torch.get_num_threads()} threads; studies run on 1, so that their numbers are "
            "reproducible: call torch.set_num_threads(1)"
        )
    if training.batch > world.num_train:
        raise StudyError(
            f"training.batch is {training.batch}, but there are {world.num_train} problems to train "
            "on; raise sizes.train or lower the batch"
        )
    arm = Run(controller, world, model, training, seed)
    start, points = time.perf_counter(), _points(training)
    curve = [_point(arm, 0, *arm.evaluate(K))]
    for number in range(training.num_steps):
        arm.step(number)
        if number + 1 in points:
            curve.append(_point(arm, number + 1, *arm.evaluate(K)))
    mean_H, pass_H = arm.evaluate(world.task.sizes.samples)
    curve.append(_point(arm, training.num_steps, mean_H, pass_H))
    return {
        **_sliced(world.base_H, mean_H, pass_H),
        "sources": _by_source(world, mean_H, pass_H),
        "spoilt_share": arm.spoilt_share(),
        **vars(arm.spent),
        "curve": curve,
        "recalled": controller.ledger.recalled,
        "discarded": controller.ledger.discarded,
        "luck": vars(arm.luck),
        **({} if arm.prefixes is None else {"prefixed": arm.prefixes.rows}),
        **({} if arm.prefixes is None else {"prefixed_right": arm.prefixes.right}),
        "digest": controller.digest(),
        "seconds": time.perf_counter() - start,
    }


def _by_source(world: World, mean_H: FloatArray, pass_H: FloatArray) -> dict[str, dict[str, float]]:
    """Scores of each level of the held-out problems, where levels are sources."""
    if world.task.variant.sources is None:
        return {}
    masks = {f"{level:g}": world.level_H == level for level in np.unique(world.level_H)}
    return {
        name: {"mean8": float(mean_H[of].mean()), "pass8": float(pass_H[of].mean())}
        for name, of in masks.items()
    }


def _points(training: Training) -> set[int]:
    """Steps of the learning curve before its end, denser at the start.

    Arms that discard rollouts are compared at an equal budget, read off their curves; an arm that
    discards most of them uses up the budget within the first steps.
    """
    every, last = training.evaluate_every, training.num_steps
    return {*range(every, last, every), *(step for step in (every // 4, every // 2) if 0 < step < last)}


def _point(arm: Run, step: int, mean_H: FloatArray, pass_H: FloatArray) -> dict[str, float]:
    scores = {"mean8": float(mean_H.mean()), "pass8": float(pass_H.mean())}
    return {"step": step, **vars(arm.spent), **scores}


def _sliced(base_H: FloatArray, mean_H: FloatArray, pass_H: FloatArray) -> dict[str, float | None]:
    """Scores over all problems and by base difficulty; None where a slice is empty."""
    easy_H, tail_H = base_H > EASY, base_H < TAIL
    every_H, middle_H = np.ones(len(base_H), bool), ~easy_H & ~tail_H
    slices = {"": every_H, "easy_": easy_H, "tail_": tail_H, "middle_": middle_H}
    scores: dict[str, float | None] = {}
    scores |= {"tail_share": float(tail_H.mean()), "base_mean8": float(base_H.mean())}
    for name, mask in slices.items():
        scores[f"{name}mean8"] = float(mean_H[mask].mean()) if mask.any() else None
        scores[f"{name}pass8"] = float(pass_H[mask].mean()) if mask.any() else None
    return scores
