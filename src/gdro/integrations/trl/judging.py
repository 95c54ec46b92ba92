"""Verdicts on a trainer's rewards, in training and evaluation, and a warning where all are the same."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gdro.errors import OutcomeError
from gdro.integrations.dataset import row_text
from gdro.integrations.trl.advantages import total_rewards
from gdro.integrations.trl.columns import names_given
from gdro.integrations.trl.correct import (
    Called,
    Judge,
    Scores,
    Verdicts,
    read_correct,
    read_process,
)
from gdro.integrations.trl.rule import rule
from gdro.integrations.trl.start import SAY_OTHERWISE, say
from gdro.numerics.arrays import BoolArray, IntArray
from gdro.types import LARGEST

Seen = tuple[torch.Tensor, torch.Tensor | None]
"""Rewards of all ranks, shape (R, K), and the answers of a function in `correct=`, shape (R,)."""

PLANS = 5
"""Plans with the same verdict everywhere before the warning."""
_SHOWN = 80  # letters of a prompt in an error


class Judging:
    """Judges a trainer's rewards, and prints the rule when it changes.

    Raises:
        UnsupportedError: `correct` names no reward function.
    """

    def __init__(self, trainer: Any, correct: Any, process: Any, columns: list[str]) -> None:
        names, functions = trainer.reward_func_names, trainer.reward_funcs
        self.process = read_process(process, names, functions)
        checks = () if self.process is None else self.process.columns
        own = [correct] if callable(correct) else []
        columns = names_given(trainer, columns, [*functions, *own])
        self.judge = read_correct(correct, names, functions) or rule(
            names, functions, trainer.reward_weights.tolist(), columns, checks
        )
        if isinstance(self.judge, Called):
            self.judge.check(columns)
        self._trainer = trainer
        self._watch = VerdictWatch(self.judge, trainer.accelerator.is_main_process)

    def ask(self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any) -> Any:
        """Answers of a function in `correct=` for this rank's rows, gathered; None without one."""
        if not isinstance(self.judge, Called):
            return None
        trainer = self._trainer
        accelerator, given = trainer.accelerator, {"trainer_state": trainer.state}
        if trainer.environments is not None:
            given["environments"] = trainer.environments
        answer_R = self.judge.ask(inputs, prompts, completions, completion_ids, **given)
        return accelerator.gather(torch.as_tensor(answer_R, device=accelerator.device))

    def verdicts(self, ticket: int, prompt_R: IntArray, seen: Seen) -> Verdicts:
        """Verdicts on the rows of a plan, the same on every rank.

        Raises:
            OutcomeError: A reward is infinite, or too large to compute with.
        """
        self._check_rewards(prompt_R, seen[0])
        scores, before = self._scores(seen), self.judge.text
        self.judge.see(scores)
        if self.judge.text != before:
            say(f"gdro: right is {self.judge.text} ({SAY_OTHERWISE})", self._trainer)
        log = self._trainer.controller.log
        if log is not None:
            log.note("correct", self.judge.text)
        verdicts = replace(self.judge.judge(scores), sound_R=self._sound(scores))
        self._watch.see(ticket, prompt_R, verdicts)
        return verdicts

    def held_out(self, seen: Seen) -> torch.Tensor:
        """Whether rows of an evaluation are right (1 or 0), of those that have a verdict."""
        verdicts = self.judge.judge(self._scores(seen))
        return torch.as_tensor(verdicts.correct_R[verdicts.judged_R]).double()

    def _sound(self, scores: Scores) -> BoolArray | None:
        if self.process is None:
            return None
        checked = self.process.judge(scores)
        return checked.correct_R | ~checked.judged_R

    def _check_rewards(self, prompt_R: IntArray, rewards_RK: torch.Tensor) -> None:
        trainer, num = self._trainer, rewards_RK.shape[1]
        most = LARGEST / num  # so that their sum stays below LARGEST
        bad_RK = (rewards_RK * trainer.reward_weights.to(rewards_RK.device)).abs() > most
        if not bool(bad_RK.any()):
            return
        row, column = (int(place) for place in bad_RK.nonzero()[0])
        prompt = row_text(trainer.train_dataset[trainer._pool.row_N[int(prompt_R[row])]])
        raise OutcomeError(
            f"reward function {trainer.reward_func_names[column]!r} gave "
            f"{rewards_RK[row, column]:g} for an answer to the prompt {prompt[:_SHOWN]!r}; "
            f"a reward must be a finite number, at most {most:.0e} in size with its weight: return None "
            "where there is no reward, or bound it"
        )

    def _scores(self, seen: Seen) -> Scores:
        rewards_RK, called_R = seen
        total_R = total_rewards(rewards_RK, self._trainer.reward_weights)
        return Scores(
            rewards_RK.float().cpu().numpy(),
            total_R.float().cpu().numpy(),
            None if called_R is None else called_R.cpu().numpy(),
        )


class VerdictWatch:
    """Warns once, where it `speaks`, if verdicts on the first plans cannot guide a controller.

    That is if none of their rollouts was judged, if all were right, or if none was right although
    rewards differ within groups.
    """

    def __init__(self, judge: Judge, speaks: bool = True) -> None:
        self.judge = judge
        self._tickets: set[int] = set()
        self._low, self._high = np.inf, -np.inf
        self._known = self._right = self._wrong = self._differ = False
        self._done = not speaks

    def see(self, ticket: int, prompt_R: IntArray, verdicts: Verdicts) -> None:
        """Take in one round of a plan's rollouts, and warn after the last of the first plans."""
        known_R = verdicts.judged_R
        if self._done:
            return
        if len(self._tickets) == PLANS and ticket not in self._tickets:
            self._done = True  # all rounds of the first plans were seen
            if not self._known:
                self._warn_of_nothing()
            elif self._right or self._differ:
                self._warn()
            return
        self._tickets.add(ticket)
        if not known_R.any():
            return
        self._known = True
        prompt_R, value_R = prompt_R[known_R], verdicts.value_R[known_R]
        right_R = verdicts.correct_R[known_R]
        self._low, self._high = min(self._low, value_R.min()), max(self._high, value_R.max())
        self._right |= bool(right_R.any())
        self._wrong |= not right_R.all()
        self._done = self._right and self._wrong
        self._differ |= any(np.ptp(value_R[prompt_R == p]) > 0 for p in np.unique(prompt_R))

    def _warn_of_nothing(self) -> None:
        warnings.warn(
            f"no rollout of the first {PLANS} plans was judged: right is {self.judge.text}, which said "
            "nothing of any of them (None), so the controller learns nothing of the prompts; name a "
            "reward function that scores these rows with correct=",
            stacklevel=2,
        )

    def _warn(self) -> None:
        what, others, mistaken = "no rollout", "right", "unsolvable"
        if self._right:
            what, others, mistaken = "every rollout", "wrong", "solved"
        fix = "name another reward function with correct="
        if self._low < self._high:
            hint = self.judge.hint((self._low + self._high) / 2)
            fix = f"write what divides right from wrong, e.g. {hint}"
        warnings.warn(
            f"{what} of the first {PLANS} plans was right: right is {self.judge.text}, and it lay "
            f"between {self._low:.3g} and {self._high:.3g}; if some of them are {others}, {fix}, or "
            f"the controller takes every prompt for {mistaken}",
            stacklevel=2,
        )
