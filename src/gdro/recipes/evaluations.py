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
_CURVES = {name: name for name in ("step", "reward", "entropy")} | {"length": "completions/mean_length"}
# Beside these, every reward function's mean, and counts of the controller and the memory.
_OF_GDRO = ("gdro/memory_", "gdro/mixed", "gdro/pass_rate", "gdro/total_")
_MORE = ("rewards/", *_OF_GDRO, "step_time", "completions/clipped_ratio", "frac_reward_zero_std")


class Heldout(TrainerCallback):
    """Evaluates every so many steps, and ends the training when its time is over.

    Args:
        trainer: A GDROTrainer.
        folder: The arm's folder; lines are added to its `evaluations.jsonl`.
        about: What each line says about the arm.
        evaluate: Returns the metrics of the model as it is.
        every: Steps between evaluations; 0: none. The caller makes that after the last step.
        until: Time at which to stop, of `time.monotonic`; None: no limit.

    Attributes:
        stopped: Whether time was over before the last step.
        spent: Seconds of evaluations.
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
        self.stopped, self.spent, self._due = False, 0.0, False
        self._trainer, self._folder, self._about = trainer, folder, about
        self._evaluate, self._every, self._until = evaluate, every, until
        self._start, self._logged = time.perf_counter(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Have the step logged if an evaluation is due, and stop if time is over."""
        last = state.global_step >= state.max_steps
        if not last and self._every and state.global_step % self._every == 0:
            self._due = control.should_log = True
        if not last and self._until is not None and time.monotonic() >= self._until:
            self.stopped = control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate if it is due; the step's own curves are in the history by now."""
        if not self._due:
            return
        self._due = False
        start = time.perf_counter()
        result = self._evaluate()
        self.spent += time.perf_counter() - start
        self.write(result)

    def write(self, result: dict[str, Any]) -> None:
        """Add a line: what is known of the run, the metrics, and the curves since the last line."""
        trainer, ledger = self._trainer, self._trainer.controller.ledger
        history = trainer.state.log_history
        line = {
            **self._about,
            "step": trainer.state.global_step,
            "seconds": time.perf_counter() - self._start - self.spent,
            "rollouts": ledger.rollouts,
            "tokens": ledger.tokens,
            **result,
            "curves": curves_of(history[self._logged :], more=True),
        }
        self._logged = len(history)
        if trainer.is_world_process_zero():
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(self._folder / LINES, "a", opener=no_link) as file:
                file.write(json.dumps(line) + "\n")


def begun(folder: Path, checkpoint: str | None) -> None:
    """Remove lines of steps that will be trained again after a checkpoint."""
    path = folder / LINES
    if not path.exists():
        return
    reached = 0
    if checkpoint is not None:
        reached = json.loads((Path(checkpoint) / TRAINER_STATE_NAME).read_text())["global_step"]
    lines = [line for line in lines_of(path) if line["step"] <= reached]
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
