"""Worker processes that judge answers, and are killed and replaced when one hangs or dies."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from typing import IO, Any, Literal, cast

from gdro.errors import GdroError
from gdro.processes import minimal_environment, module_command
from gdro.rewards.wire import CRASHED, Item, receive, send

_CHUNK = 32  # items that one forked child judges; a fork costs as much as a few items


class RewardError(GdroError):
    """A reward cannot be computed, or was asked for in a wrong way."""


class _Worker:
    """A worker process, and what it was given last."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = module_command("gdro.rewards.worker", *arguments)
        # One thread a worker, whatever library starts more.
        given = minimal_environment(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        # A session of its own: what it forked is killed with it, and Ctrl-C is for the parent alone.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given, start_new_session=True
        )
        self.items: list[int] = []
        self.number = 0

    @property
    def coming(self) -> IO[bytes]:
        """Where its verdicts come from."""
        return cast("IO[bytes]", self.process.stdout)

    def give(self, items: list[int], pool: Sequence[Item]) -> None:
        """Have it judge these items; if it has died meanwhile, `coming` is at its end."""
        self.items = items
        self.number += 1
        with contextlib.suppress(BrokenPipeError):
            send(cast("IO[bytes]", self.process.stdin), [self.number, [pool[i] for i in items]])

    def verdicts(self) -> list[int] | None:
        """Those of what it was given last; None if it died, `[]` if what came belongs to other items."""
        answer: list[Any] | None = receive(self.coming)
        if answer is None:
            return None
        number, verdicts = answer
        return verdicts if number == self.number else []

    def stop(self) -> None:
        """Kill it with its child."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                cast("IO[bytes]", stream).close()


class Pool:
    """Judges items in processes; see `MathVerifier` for what they may do.

    Args:
        kind: Of the items that it will be given, so that workers import what they need first.
        workers: Processes.
        timeout_s: Most seconds for one item.
        memory_mb: Most megabytes that judging may take in a worker.

    Raises:
        RewardError: An argument is out of range, or this is not Linux.
    """

    def __init__(
        self, kind: Literal["math", "gym"], workers: int, timeout_s: float, memory_mb: int
    ) -> None:
        if workers < 1 or not 0 < timeout_s < float("inf") or memory_mb < 64:
            raise RewardError(
                f"workers={workers}, timeout_s={timeout_s}, memory_mb={memory_mb}; allowed: 1 or more, "
                "above 0 and finite, 64 or more"
            )
        if sys.platform != "linux":
            raise RewardError(f"workers are confined as Linux does it; this is {sys.platform}")
        self._kind, self._num = kind, workers
        self._arguments = (kind, str(timeout_s), str(memory_mb))
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start the workers, and wait until they are ready."""
        with self._serving():
            self._start()

    def close(self) -> None:
        """Stop the workers; nothing can be judged after it."""
        with self._lock:
            self._closed = True
            self._stop()

    def judge(self, items: Sequence[Item]) -> list[int]:
        """Judge items; may be called from any thread, one call at a time is served.

        Args:
            items: (gold, answer) each.

        Returns:
            A verdict each: hundredths of a score, `TOO_SLOW` or `CRASHED`.

        Raises:
            RewardError: The pool is closed, or a worker does not start.
        """
        found = [CRASHED] * len(items)
        if not items:
            return found
        with self._serving():
            self._start()
            waiting = deque(range(len(items)))
            with selectors.DefaultSelector() as busy:
                for worker in self._workers:
                    self._give(worker, waiting, items, busy)
                while busy.get_map():
                    for key, _ in busy.select():
                        busy.unregister(key.fileobj)
                        given: list[int] = key.data.items
                        worker, verdicts = self._heard(key.data)
                        for item, verdict in zip(given, verdicts, strict=False):
                            found[item] = verdict
                        waiting.extendleft(reversed(given[len(verdicts) :]))
                        self._give(worker, waiting, items, busy)
        return found

    @contextlib.contextmanager
    def _serving(self) -> Generator[None]:
        """One call at a time; an exception, Ctrl-C too, leaves no worker that still owes an answer."""
        with self._lock, contextlib.ExitStack() as unless_done:
            unless_done.callback(self._stop)
            yield
            unless_done.pop_all()

    def _stop(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.stop()

    def _start(self) -> None:
        if self._closed:
            raise RewardError("this verifier is closed; make a new one")
        had = len(self._workers)
        while len(self._workers) < self._num:
            self._workers.append(_Worker(self._arguments))
        if any(receive(worker.coming) != "ready" for worker in self._workers[had:]):
            extra = {"math": "math", "gym": "lm"}[self._kind]
            raise RewardError(
                f"a worker did not start (its error is above); pip install 'gdro[{extra}]'?"
            )

    def _give(
        self, worker: _Worker, waiting: deque[int], items: Sequence[Item],
        busy: selectors.BaseSelector,
    ) -> None:  # fmt: skip
        """Give a worker its next share of what waits; the last shares are small."""
        size = min(_CHUNK, -(-len(waiting) // (2 * self._num)))
        if size:
            worker.give([waiting.popleft() for _ in range(size)], items)
            busy.register(worker.coming, selectors.EVENT_READ, worker)

    def _heard(self, worker: _Worker) -> tuple[_Worker, list[int]]:
        """Verdicts of a worker; one that died is replaced, and its first item is what it died of."""
        verdicts = worker.verdicts()
        if verdicts:
            return worker, verdicts
        worker.stop()
        self._workers.remove(worker)
        self._start()
        return self._workers[-1], [CRASHED] if verdicts is None else verdicts
