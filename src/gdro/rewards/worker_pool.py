"""Worker processes that grade answers, and are killed and replaced if they hang or die."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Generator, Sequence
from functools import partial
from typing import IO, Any, Literal, cast

from gdro.common.processes import minimal_environment, module_command
from gdro.errors import GdroError
from gdro.rewards.batch import Batch, Share
from gdro.rewards.wire import CRASHED, TOO_SLOW, Item, late, receive, send

# Wall-clock limit of a batch: so many times its CPU time limit, plus seconds; a machine that gives its
# workers less CPU time is an error.
_PATIENCE, _PATIENCE_S = 10.0, 60.0
_LOG = logging.getLogger(__name__)


class RewardError(GdroError):
    """A reward cannot be computed, or an argument is invalid."""


class _Worker:
    """A worker process and its current share of items."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = module_command("gdro.rewards.worker", *arguments, str(os.getpid()))
        # One thread per worker, also in libraries that would start more.
        given = minimal_environment(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        # A session of its own: its children are killed with it, and Ctrl-C reaches only the parent.
        # No buffers: a forked copy of this process must have nothing left to write.
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=given,
            start_new_session=True,
        )
        self.share = Share([], 0.0, alone=False)
        self.number = 0

    @property
    def coming(self) -> IO[bytes]:
        """The stream of its verdicts."""
        return cast("IO[bytes]", self.process.stdout)

    def give(self, share: Share, pool: Sequence[Item]) -> None:
        """Send it items to grade; if it has died meanwhile, `coming` is at its end."""
        self.share = share
        self.number += 1
        with contextlib.suppress(BrokenPipeError):
            texts = [pool[i] for i in share.items]
            send(cast("IO[bytes]", self.process.stdin), [self.number, share.limit_s, texts])

    def verdicts(self) -> tuple[list[int], float] | None:
        """Verdicts of its current share and the CPU seconds they took; None if it died."""
        answer: list[Any] | None = receive(self.coming)
        if answer is None or answer[0] != self.number:
            return None
        return answer[1], answer[2]

    def stop(self) -> None:
        """Kill the worker with its child."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def forget(self) -> None:
        """Release it in a process that was forked from its owner."""
        self.process.returncode = 0  # not a child of this process, so there is nothing to wait for
        self._close()

    def _close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            cast("IO[bytes]", stream).close()


class Pool:
    """Grades items of one kind in worker processes; see `MathVerifier` for the arguments."""

    def __init__(
        self,
        kind: Literal["math", "gym"],
        workers: int,
        timeout_s: float,
        memory_mb: int,
        batch_s: float | None = None,
    ) -> None:
        if workers < 1 or not 0 < timeout_s < float("inf") or memory_mb < 64:
            raise RewardError(
                f"workers={workers}, timeout_s={timeout_s}, memory_mb={memory_mb}; allowed: 1 or more, "
                "above 0 and finite, 64 or more"
            )
        if batch_s is not None and not 0 < batch_s < float("inf"):
            raise RewardError(f"batch_s={batch_s}; allowed: above 0 and finite, or None")
        if sys.platform != "linux":
            raise RewardError(
                f"this is {sys.platform}, but workers are sandboxed by Linux; run on Linux"
            )
        self._kind, self._num, self._timeout_s, self._batch_s = kind, workers, timeout_s, batch_s
        self._arguments = (kind, str(memory_mb))
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False
        os.register_at_fork(after_in_child=partial(_in_child, weakref.ref(self)))

    def start(self) -> None:
        """Start the workers and wait until they are ready."""
        with self._serving():
            self._start()

    def close(self) -> None:
        """Stop the workers; later calls are refused."""
        self.own()
        with self._lock:
            self._closed = True
            self._stop()

    def judge(self, items: Sequence[Item]) -> list[int]:
        """Grade (gold, answer) pairs: hundredths of a score, `TOO_SLOW` or `CRASHED` for each.

        May be called from any thread; one call is served at a time.

        Raises:
            RewardError: The pool is closed, a worker or its child does not start, or workers are killed
                or get no CPU time repeatedly.
        """
        if not items:
            return []
        batch = Batch(items, self._num, self._timeout_s, self._batch_s)
        with self._serving():
            self._start()
            self._judge(batch)
        verdicts = batch.verdicts
        slow, crashed = verdicts.count(TOO_SLOW), verdicts.count(CRASHED)
        if slow or crashed:
            _LOG.warning(
                "of %d answers %d were too slow and %d crashed: wrong", len(verdicts), slow, crashed
            )
        return verdicts

    def own(self) -> None:
        """Release workers and lock that belong to the process this one was forked from.

        Python's forks do so at once; this is for forks by a library.
        """
        if self._owner != os.getpid():
            workers, self._workers = self._workers, []
            self._lock, self._owner = threading.Lock(), os.getpid()
            for worker in workers:
                worker.forget()

    def _judge(self, batch: Batch) -> None:
        """Grade a batch until no item or no time is left."""
        wait_s = _PATIENCE_S + _PATIENCE * (batch.most_s + self._timeout_s)
        until = time.monotonic() + wait_s
        with selectors.DefaultSelector() as busy:
            while True:
                # Idle workers too: they take over items that another worker returned.
                for worker in self._workers:
                    if worker.coming not in busy.get_map() and (share := batch.share()) is not None:
                        worker.give(share, batch.items)
                        busy.register(worker.coming, selectors.EVENT_READ, worker)
                if not busy.get_map():
                    return
                start = time.monotonic()
                if start > until:
                    raise RewardError(
                        f"{len(batch.items)} answers were not judged in {wait_s:.0f} s: something "
                        "stopped the workers, or the machine has no CPU time for them; use fewer workers"
                    )
                left = until - start
                ready = busy.select(left)
                until += late(start, left)
                for key, _ in ready:
                    busy.unregister(key.fileobj)
                    self._hear(key.data, batch)

    @contextlib.contextmanager
    def _serving(self) -> Generator[None]:
        """Serve one call at a time; after an exception, also Ctrl-C, no busy worker is left."""
        self.own()
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
        try:
            while len(self._workers) < self._num:
                self._workers.append(_Worker(self._arguments))
        except OSError as problem:
            raise RewardError(
                f"a worker could not be started: {problem}; use fewer workers"
            ) from problem
        if any(receive(worker.coming) != "ready" for worker in self._workers[had:]):
            extra = {"math": "math", "gym": "lm"}[self._kind]
            raise RewardError(
                f"a worker did not start (its error is above); pip install 'gdro[{extra}]'?"
            )

    def _hear(self, worker: _Worker, batch: Batch) -> None:
        """Take a worker's verdicts, and replace it if it died."""
        heard = worker.verdicts()
        if heard is None:
            batch.lost(worker.share)
        else:
            batch.judged(worker.share, *heard)
        if batch.troubles > 2 * self._num:
            raise RewardError(
                "workers were killed, or had no process to judge an answer in, again and again (see "
                "above); the machine or its limits (memory, `ulimit -u`) do not allow more: use fewer "
                "workers"
            )
        if heard is None:
            worker.stop()
            self._workers.remove(worker)
            self._start()


def _in_child(pool: weakref.ref[Pool]) -> None:
    """Called by Python in a process that it has just forked."""
    if (inherited := pool()) is not None:
        inherited.own()
