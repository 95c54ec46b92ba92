"""The trainer's side of the process that makes rollouts: its start, its state and its errors."""

from __future__ import annotations

import multiprocessing
import queue
import time
import warnings
from pathlib import Path
from typing import Any

from trl.experimental.async_grpo.async_rollout_worker import AsyncRolloutWorker

from gdro import errors
from gdro.common.processes import safe_children
from gdro.errors import CheckpointError
from gdro.integrations.trl.async_grpo.loop import PlannedLoop, Start, Terms

_PATIENCE = 120.0  # seconds for a checkpoint, which a plan or a slow disk may delay


class PlannedWorker(AsyncRolloutWorker):
    """TRL's rollout worker, whose process runs a `PlannedLoop`.

    Args:
        terms: What that process needs to know of the run.
        **kwargs: TRL's arguments.
    """

    _loop_cls = PlannedLoop

    def __init__(self, *, terms: Terms, **kwargs: Any) -> None:
        self._requests, theirs = multiprocessing.get_context("spawn").Pipe()
        super().__init__(**kwargs, terms=terms, start=Start(), requests=theirs)
        self.state: dict[str, Any] | None = None

    def begin(self, start: Start) -> None:
        """Set where the training begins; before `start`."""
        self._loop_kwargs["start"] = start

    def start(self) -> None:
        """Start the process, which looks for no module in the working folder before its own path."""
        with safe_children():
            super().start()

    def save(self, folder: Path, trained: int) -> None:
        """Write the controller's state to a folder, and set `state` to it.

        Args:
            folder: Where to write.
            trained: Last group that was trained on, -1 before the first.

        Raises:
            CheckpointError: It cannot be written, or there is no answer.
        """
        self._requests.send((str(folder), trained))
        self._receive()

    def _receive(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self._requests.poll(0.2):
            if self._process is None or not self._process.is_alive() or time.monotonic() > end:
                raise CheckpointError(
                    "the process that makes rollouts does not answer, so the controller's state is not "
                    f"saved (waited {_PATIENCE:.0f} s at most); look at its last messages, and resume "
                    "from the last checkpoint"
                )
        self.state, failure = self._requests.recv()
        if failure is not None:
            raise _error(*failure)

    def check_health(self, stale_after_s: float) -> None:
        """Raise if the process has failed or ended; errors of gdro's are raised as they were there."""
        if self._failed_event.is_set():
            try:
                name, text, trace = self._exception_info_queue.get(timeout=1.0)
            except queue.Empty:
                name = text = trace = ""
            if hasattr(errors, name):
                raise _error(name, text)
            if name:
                self._exception_info_queue.put((name, text, trace))
                time.sleep(0.1)  # a queue between processes has its item a moment later
        elif self._process is None:
            raise RuntimeError(
                "no rollouts are made: AsyncGRPOTrainer starts them once, so train() cannot be called "
                "again; make a new trainer, and pass resume_from_checkpoint to its train()"
            )
        elif not self._process.is_alive():
            raise RuntimeError(
                f"the process that makes rollouts has ended (exit code {self._process.exitcode}; -9: it "
                "was killed, often for memory); resume from the last checkpoint"
            )
        super().check_health(stale_after_s)

    def stop(self) -> None:
        """End the process, and set `state` to its last."""
        process = self._process
        if process is None:
            return
        if process.is_alive() and not self._failed_event.is_set():
            self._stop_event_mp.set()
            try:
                self._receive()
            except CheckpointError as error:
                old = "trainer.controller is that of the last checkpoint"
                warnings.warn(f"{error}; {old}", stacklevel=2)
            super().stop()
            return
        # TRL would set the event here, and wait for ever: a process that ended never confirms it.
        self._process = None
        process.join(timeout=15)
        if process.is_alive():
            process.kill()


def _error(name: str, text: str) -> Exception:
    kind = getattr(errors, name)
    return CheckpointError(text) if issubclass(kind, CheckpointError) else kind(text)
