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
from collections import deque
from collections.abc import Generator, Sequence
from functools import partial
from typing import IO, Any, Literal, cast

from gdro.errors import GdroError
from gdro.processes import minimal_environment, module_command
from gdro.rewards.wire import CRASHED, TOO_SLOW, UNFORKED, Item, receive, send

_CHUNK = 32  # items that one forked child judges; a fork costs as much as a few items
# Of an item's time, at first: one that needs more waits until all others are judged.
_FIRST = 1 / 8
_SPARE, _EACH_S = 5.0, 0.1  # of a batch: times the time for an item, and seconds for each of a worker's
_STOOD_STILL_S = 1.0  # a wait that took so much longer was this process's own stop, not the workers'
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
        self.items: list[int] = []
        self.alone = False
        self.number = 0

    @property
    def coming(self) -> IO[bytes]:
        """Where its verdicts come from."""
        return cast("IO[bytes]", self.process.stdout)

    def give(self, items: list[int], alone: bool, limit_s: float, pool: Sequence[Item]) -> None:
        """Have it judge these items; if it has died meanwhile, `coming` is at its end."""
        self.items, self.alone = items, alone
        self.number += 1
        with contextlib.suppress(BrokenPipeError):
            texts = [pool[i] for i in items]
            send(cast("IO[bytes]", self.process.stdin), [self.number, limit_s, texts])

    def verdicts(self) -> list[int] | None:
        """Those of what it was given last; None if it died."""
        answer: list[Any] | None = receive(self.coming)
        if answer is None or answer[0] != self.number:
            return None
        return answer[1]

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


class _Batch:
    """What is judged of one call: each item once, and once more by itself if that came to nothing."""

    def __init__(self, items: Sequence[Item], workers: int) -> None:
        self.items, self._workers, self._unforked = items, workers, 0
        self.verdicts = [TOO_SLOW] * len(items)  # of those that the batch's time does not reach
        self._first = deque(range(len(items)))
        self._again: deque[int] = deque()

    def share(self) -> tuple[list[int], bool]:
        """The next items for a worker, and whether they are judged for the last time."""
        if not self._first:
            return ([self._again.popleft()] if self._again else []), True
        size = min(_CHUNK, -(-len(self._first) // (2 * self._workers)))  # the last shares are small
        return [self._first.popleft() for _ in range(size)], False

    def judged(self, items: list[int], alone: bool, verdicts: Sequence[int]) -> None:
        """Take in the verdicts of a share, which may end early."""
        for item, verdict in zip(items, verdicts, strict=False):
            self._unforked += verdict == UNFORKED
            if verdict < UNFORKED or (alone and verdict != UNFORKED):
                self.verdicts[item] = verdict
            else:
                self._again.append(item)
        if self._unforked > self._workers:
            raise RewardError(
                "no process could be started to judge an answer in, again and again (see above); "
                "the machine or its limits (`ulimit -u`, memory) have none to spare: use fewer workers"
            )
        self._first.extendleft(reversed(items[len(verdicts) :]))


class Pool:
    """Judges items in processes; see `MathVerifier` for what they may do.

    Args:
        kind: Of the items that it will be given, so that workers import what they need first.
        workers: Processes.
        timeout_s: Most seconds of the processor for one item.
        memory_mb: Most megabytes that judging may take in a worker.
        batch_s: Most seconds for one call of `judge`, a worker's start apart; default: 5 `timeout_s`,
            and 0.1 for each item of a worker's share.

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
            RewardError: The pool is closed, or a worker or the process that it judges in does not start.
        """
        if not items:
            return []
        batch = _Batch(items, self._num)
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

    def _judge(self, batch: _Batch) -> None:
        """Judge a batch until its time is up; workers that are not done then are stopped."""
        each = _EACH_S * len(batch.items) / self._num
        until = time.monotonic() + (self._batch_s or _SPARE * self._timeout_s + each)
        with selectors.DefaultSelector() as busy:
            for worker in self._workers:
                self._give(worker, batch, busy)
            while busy.get_map() and (left := until - time.monotonic()) > 0:
                start = time.monotonic()
                ready = busy.select(left)
                late = time.monotonic() - start - left
                until += late if late > _STOOD_STILL_S else 0.0
                for key, _ in ready:
                    busy.unregister(key.fileobj)
                    worker, lost_s = self._heard(key.data, batch)
                    until += lost_s
                    self._give(worker, batch, busy)
            for key in busy.get_map().values():
                key.data.stop()
                self._workers.remove(key.data)

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

    def _give(self, worker: _Worker, batch: _Batch, busy: selectors.BaseSelector) -> None:
        """Give a worker its next share of what waits."""
        items, alone = batch.share()
        if items:
            worker.give(items, alone, self._timeout_s * (1.0 if alone else _FIRST), batch.items)
            busy.register(worker.coming, selectors.EVENT_READ, worker)

    def _heard(self, worker: _Worker, batch: _Batch) -> tuple[_Worker, float]:
        """Take a worker's verdicts; one that died is replaced, in so many seconds."""
        verdicts = worker.verdicts()
        batch.judged(worker.items, worker.alone, [CRASHED] if verdicts is None else verdicts)
        if verdicts is not None:
            return worker, 0.0
        start = time.monotonic()
        worker.stop()
        self._workers.remove(worker)
        self._start()
        return self._workers[-1], time.monotonic() - start


def _in_child(pool: weakref.ref[Pool]) -> None:
    """What Python calls in a process that it has just forked."""
    if (inherited := pool()) is not None:
        inherited.own()
