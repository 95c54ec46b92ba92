"""Held-out evaluations during training, one line each, so that an interrupted run has its scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME

from gdro.common.files import no_link, write_text
from gdro.common.schema import Fault, Record, is_count
from gdro.log.run_log import read_jsonl

LINES = "evaluations.jsonl"
_CLOCK = "gdro_seconds"
_CURVES = {name: name for name in ("step", "reward", "entropy")} | {"length": "completions/mean_length"}
# Beside these, every reward function's mean, and counts of the controller and the memory.
_OF_GDRO = ("gdro/memory_", "gdro/mixed", "gdro/pass_rate", "gdro/total_")
_MORE = ("rewards/", *_OF_GDRO, "step_time", "completions/clipped_ratio", "frac_reward_zero_std")


class Trained(Exception):
    """The checkpoint is that of the last step. Transformers would train one step more."""


class Heldout(TrainerCallback):
    """Evaluates every so many steps, and ends the training when its time is over.

    A checkpoint holds the seconds of training until it, so that they go on after a resume.

    Args:
        trainer: A GDROTrainer.
        folder: The arm's folder; lines are added to its `evaluations.jsonl`.
        about: What each line says about the arm.
        evaluate: Returns the metrics of the model as it is.
        every: Steps between evaluations; 0: none. The caller makes that after the last step.
        until: Time at which to stop, of `time.monotonic`; None: no limit.

    Attributes:
        stopped: Whether time was over before the last step.
        timed: Whether `seconds` has every step; false after a checkpoint of a release that did not save
            it, from which the seconds of the last line go on, and after every later resume.
    """

    def __init__(
        self,
        trainer: Any,
        folder: Path,
        about: dict[str, Any],
        evaluate: Callable[[], dict[str, Any]],
        every: int,
        until: float | None,
    ) -> None:
        self.stopped, self.timed, self._due = False, True, False
        self._trainer, self._folder, self._about = trainer, folder, about
        self._evaluate, self._every, self._until = evaluate, every, until
        self._start, self._end, self._apart = time.perf_counter(), None, 0.0
        self._before, self._written = 0.0, 0

    @property
    def seconds(self) -> float:
        """Time of training so far without any evaluation, in seconds.

        Every line and the arm's `eval.json` have it. The time before a checkpoint counts after a resume,
        that of steps which were lost and are trained again does not; loading never does.
        """
        now = time.perf_counter() if self._end is None else self._end
        return self._before + now - self._start - self._apart

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock, and go on after the lines and the seconds of an earlier process.

        Raises:
            Trained: There is no step to train.
        """
        lines = lines_of(self._folder / LINES) if self._trainer.is_world_process_zero() else []
        self._written = lines[-1]["step"] if lines else 0
        if state.global_step:
            saved = state.stateful_callbacks.get(_CLOCK, {})
            last = lines[-1].get("seconds", 0.0) if lines else 0.0
            self._before = saved.get("seconds", last)
            self.timed = saved.get("timed", False)
        self._start = time.perf_counter()
        if state.global_step >= state.max_steps:
            self._end = self._start
            raise Trained

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Have the step logged if an evaluation is due, and stop if time is over."""
        last = state.global_step >= state.max_steps
        if not last and self._every and state.global_step % self._every == 0:
            self._due = control.should_log = True
        if not last and self._until is not None and time.monotonic() >= self._until:
            self.stopped = control.should_training_stop = True
        # Checkpoints save what is here. A callback with a state of its own could not be resumed from a
        # checkpoint without one.
        state.stateful_callbacks[_CLOCK] = {"seconds": self.seconds, "timed": self.timed}
        return control

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate if it is due; the step's own curves are in the history by now."""
        if not self._due:
            return
        self._due = False
        start = time.perf_counter()
        result = self._evaluate()
        self._apart += time.perf_counter() - start
        self.write(result)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock: what the caller does after the training, an evaluation too, is none of it."""
        self._end = time.perf_counter()

    def write(self, result: dict[str, Any]) -> None:
        """Add a line: what is known of the run, the metrics, and the curves since the last line."""
        trainer, ledger = self._trainer, self._trainer.controller.ledger
        history = [line for line in trainer.state.log_history if line["step"] > self._written]
        line = {
            **self._about,
            "step": trainer.state.global_step,
            "seconds": self.seconds,
            "rollouts": ledger.rollouts,
            "tokens": ledger.tokens,
            **result,
            "curves": curves_of(history, more=True),
        }
        self._written = trainer.state.global_step
        if trainer.is_world_process_zero():
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / LINES, "a", opener=no_link) as file:
                file.write(json.dumps(line) + "\n")


def begun(folder: Path, checkpoint: str | None) -> None:
    """Remove lines of steps that will be trained or evaluated again after a checkpoint.

    A run that was killed before its arm was finished makes the evaluation after the last step again.
    """
    path = folder / LINES
    if not path.exists():
        return
    reached, last = 0, 0
    if checkpoint is not None:
        state = json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text())
        reached, last = state["global_step"], state["max_steps"]
    lines = [line for line in lines_of(path) if line["step"] <= reached and line["step"] < last]
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of evaluations, without one that a kill cut off."""
    return list(read_jsonl(path, _line)) if path.exists() else []


def _line(record: Record) -> None:
    if not is_count(record.get("step")):
        raise Fault("has no whole number as 'step'")


def curves_of(history: list[dict[str, Any]], more: bool = False) -> dict[str, list[float]]:
    """Curves of the trainer's log history; with `more`, rewards by function and counts too."""
    logged = [line for line in history if "reward" in line]
    names = dict(_CURVES)
    if more and logged:
        names |= {key: key for key in logged[-1] if key.startswith(_MORE)}
    return {name: [float(line[key]) for line in logged if key in line] for name, key in names.items()}
