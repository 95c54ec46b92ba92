"""Worker processes that judge answers, and are killed and replaced when one hangs or dies."""

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

# By the clock, times what a batch may take of the processor and seconds more, before a machine that
# gives its workers that little is an error.
_PATIENCE, _PATIENCE_S = 10.0, 60.0
_LOG = logging.getLogger(__name__)


class RewardError(GdroError):
    """A reward cannot be computed, or was asked for in a wrong way."""


class _Worker:
    """A worker process, and what it was given last."""

    def __init__(self, arguments: Sequence[str]) -> None:
        command = module_command("gdro.rewards.worker", *arguments, str(os.getpid()))
        # One thread a worker, whatever library starts more.
        given = minimal_environment(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        # A session of its own: what it forked is killed with it, and Ctrl-C is for the parent alone.
        # No buffers: a forked process that lets go of it must have nothing left to write.
        self.process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given,
            start_new_session=True,
        )  # fmt: skip
        self.share = Share([], 0.0, alone=False)
        self.number = 0

    @property
    def coming(self) -> IO[bytes]:
        """Where its verdicts come from."""
        return cast("IO[bytes]", self.process.stdout)

    def give(self, share: Share, pool: Sequence[Item]) -> None:
        """Have it judge these items; if it has died meanwhile, `coming` is at its end."""
        self.share = share
        self.number += 1
        with contextlib.suppress(BrokenPipeError):
            texts = [pool[i] for i in share.items]
            send(cast("IO[bytes]", self.process.stdin), [self.number, share.limit_s, texts])

    def verdicts(self) -> tuple[list[int], float] | None:
        """Those of what it was given last, and the processor's seconds for them; None if it died."""
        answer: list[Any] | None = receive(self.coming)
        if answer is None or answer[0] != self.number:
            return None
        return answer[1], answer[2]

    def stop(self) -> None:
        """Kill it with its child."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def forget(self) -> None:
        """Let go of it in a process that was forked from its owner's."""
        self.process.returncode = 0  # there is nothing to wait for
        self._close()

    def _close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            cast("IO[bytes]", stream).close()


class Pool:
    """Judges items in processes; see `MathVerifier` for what they may do.

    Args:
        kind: Of the items that it will be given, so that workers import what they need first.
        workers: Processes.
        timeout_s: Most seconds of the processor for one item.
        memory_mb: Most megabytes that judging may take in a worker.
        batch_s: Seconds of each worker's processor in one call of `judge`, after which no item is judged
            once more; default: 4 `timeout_s`, and 0.1 for each item of a worker's share.

    Raises:
        RewardError: An argument is out of range, or this is not Linux.
    """

    def __init__(
        self, kind: Literal["math", "gym"], workers: int, timeout_s: float, memory_mb: int,
        batch_s: float | None = None,
    ) -> None:  # fmt: skip
        if workers < 1 or not 0 < timeout_s < float("inf") or memory_mb < 64:
            raise RewardError(
                f"workers={workers}, timeout_s={timeout_s}, memory_mb={memory_mb}; allowed: 1 or more, "
                "above 0 and finite, 64 or more"
            )
        if batch_s is not None and not 0 < batch_s < float("inf"):
            raise RewardError(f"batch_s={batch_s}; allowed: above 0 and finite, or None")
        if sys.platform != "linux":
            raise RewardError(f"workers are confined as Linux does it; this is {sys.platform}")
        self._kind, self._num, self._timeout_s, self._batch_s = kind, workers, timeout_s, batch_s
        self._arguments = (kind, str(memory_mb))
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False
        os.register_at_fork(after_in_child=partial(_in_child, weakref.ref(self)))

    def start(self) -> None:
        """Start the workers, and wait until they are ready."""
        with self._serving():
            self._start()

    def close(self) -> None:
        """Stop the workers; nothing can be judged after it."""
        self.own()
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
            RewardError: The pool is closed, a worker or the process that it judges in does not start, or
                workers are killed or kept from the processor again and again.
        """
        if not items:
            return []
        batch = Batch(items, self._num, self._timeout_s, self._batch_s)
        with self._serving():
            self._start()
            self._judge(batch)
        found = batch.verdicts
        slow, crashed = found.count(TOO_SLOW), found.count(CRASHED)
        if slow or crashed:
            _LOG.warning(
                "of %d answers %d were too slow and %d crashed: wrong", len(found), slow, crashed
            )
        return found

    def own(self) -> None:
        """Let go of the workers of the process that this one was forked from, and of its lock.

        What Python forks does so at once; this is for what a library forked.
        """
        if self._owner != os.getpid():
            workers, self._workers = self._workers, []
            self._lock, self._owner = threading.Lock(), os.getpid()
            for worker in workers:
                worker.forget()

    def _judge(self, batch: Batch) -> None:
        """Judge a batch until nothing is left, or no time for what is left."""
        wait_s = _PATIENCE_S + _PATIENCE * (batch.most_s + self._timeout_s)
        until = time.monotonic() + wait_s
        with selectors.DefaultSelector() as busy:
            while True:
                # Also to one that had nothing to do: what another gives back is for all.
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
                        "stopped the workers, or the machine has no processor for them; use fewer"
                        " workers"
                    )
                left = until - start
                ready = busy.select(left)
                until += late(start, left)
                for key, _ in ready:
                    busy.unregister(key.fileobj)
                    self._hear(key.data, batch)

    @contextlib.contextmanager
    def _serving(self) -> Generator[None]:
        """One call at a time; an exception, Ctrl-C too, leaves no worker that still owes an answer."""
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
        """Take a worker's verdicts; one that died is replaced."""
        heard = worker.verdicts()
        if heard is None:
            batch.lost(worker.share)
        else:
            batch.judged(worker.share, *heard)
        if batch.troubles > 2 * self._num:
            raise RewardError(
                "workers were killed, or had no process to judge an answer in, again and again (see "
                "above); the machine or its limits (memory, `ulimit -u`) have none to spare: use fewer "
                "workers"
            )
        if heard is None:
            worker.stop()
            self._workers.remove(worker)
            self._start()


def _in_child(pool: weakref.ref[Pool]) -> None:
    """What Python calls in a process that it has just forked."""
    if (inherited := pool()) is not None:
        inherited.own()
