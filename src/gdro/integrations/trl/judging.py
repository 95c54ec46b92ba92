"""Verdicts of a trainer's rewards: what it trains on, and what it is evaluated on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gdro.errors import OutcomeError
from gdro.integrations.dataset import prompt_text
from gdro.integrations.trl.advantages import total_rewards
from gdro.integrations.trl.correct import Called, Judged, Scores, read_correct
from gdro.integrations.trl.rule import rule
from gdro.integrations.trl.start import SAY_OTHERWISE, say
from gdro.integrations.trl.verdicts import Watch
from gdro.numerics.arrays import IntArray
from gdro.types import LARGEST

Seen = tuple[torch.Tensor, torch.Tensor | None]
"""Rewards of all ranks, shape (R, K), and what a function in `correct=` said of the rows, shape (R,)."""


_SHOWN = 80  # letters of a prompt in an error


class Judging:
    """Judges a trainer's rewards, and says what it took for right.

    Args:
        trainer: The trainer, with its reward functions.
        correct: Its argument.
        columns: Columns of its dataset.

    Raises:
        UnsupportedError: `correct` names no reward function.
    """

    def __init__(self, trainer: Any, correct: Any, columns: list[str]) -> None:
        names, functions = trainer.reward_func_names, trainer.reward_funcs
        self.judge = read_correct(correct, names, functions) or rule(
            names, functions, trainer.reward_weights.tolist(), columns
        )
        if isinstance(self.judge, Called):
            self.judge.check(columns)
        self._trainer = trainer
        self._watch = Watch(trainer, self.judge)

    @property
    def text(self) -> str:
        """What is right, in words."""
        return self.judge.text

    def ask(self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any) -> Any:
        """What a function in `correct=` says of this rank's rows, gathered; None without one."""
        if not isinstance(self.judge, Called):
            return None
        said_R = self.judge.ask(inputs, prompts, completions, completion_ids, self._trainer.state)
        accelerator = self._trainer.accelerator
        return accelerator.gather(torch.as_tensor(said_R, device=accelerator.device))

    def verdicts(self, ticket: int, prompt_R: IntArray, seen: Seen) -> Judged:
        """Verdicts on rows of the training, every rank alike.

        Args:
            ticket: The plan's.
            prompt_R: Dataset index of each row, shape (R,).
            seen: Their rewards.

        Raises:
            OutcomeError: A reward is infinite, or too large to compute with.
        """
        self._check_rewards(prompt_R, seen[0])
        scores, before = self._scores(seen), self.text
        self.judge.see(scores)
        if self.text != before:
            say(f"gdro: right is {self.text} ({SAY_OTHERWISE})", self._trainer)
        log = self._trainer.controller.log
        if log is not None:
            log.note("correct", self.text)
        judged = self.judge.judge(scores)
        self._watch.see(ticket, prompt_R, judged)
        return judged

    def held_out(self, seen: Seen) -> torch.Tensor:
        """Whether rows of an evaluation are right (1 or 0), of those that have a verdict."""
        judged = self.judge.judge(self._scores(seen))
        return torch.as_tensor(judged.correct_R[judged.judged_R]).double()

    def save(self, folder: Path) -> None:
        """Write what was seen beside a checkpoint."""
        self.judge.save(folder)

    def load(self, folder: Path) -> None:
        """Go on from what a checkpoint saw."""
        self.judge.load(folder)

    def _check_rewards(self, prompt_R: IntArray, rewards_RK: torch.Tensor) -> None:
        """Refuse what no advantage can be computed of, in the words of who wrote the function."""
        trainer, num = self._trainer, rewards_RK.shape[1]
        most = LARGEST / num  # so that their sum stays below LARGEST
        bad_RK = (rewards_RK * trainer.reward_weights.to(rewards_RK.device)).abs() > most
        if not bool(bad_RK.any()):
            return
        row, column = (int(place) for place in bad_RK.nonzero()[0])
        prompt = trainer.train_dataset[trainer._pool.row_N[int(prompt_R[row])]]["prompt"]
        raise OutcomeError(
            f"reward function {trainer.reward_func_names[column]!r} gave "
            f"{rewards_RK[row, column]:g} for an answer to the prompt {prompt_text(prompt)[:_SHOWN]!r}; "
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
