"""Verdicts that were never read: an interrupted call gives no later one another call's verdicts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from gdro.rewards import MathVerifier, RewardError
from gdro.rewards.batch import Share
from gdro.rewards.wire import RIGHT, WRONG
from gdro.rewards.worker_pool import Pool

SLOW = ("9^{9^{9^9}}", "9^{9^{9^8}}")
PAIRS = [(f"{n}/7", f"{2 * n + n % 2}/14") for n in range(1, 41)]  # the even ones are right
VERDICTS = [WRONG if n % 2 else RIGHT for n in range(1, 41)]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where this process was started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(pool: Pool) -> None:
    """Ctrl-C, as soon as the slow item was given to a worker."""
    while not any(worker.share.items for worker in pool._workers):
        threading.Event().wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_leaves_no_verdicts_for_the_next_call() -> None:
    with MathVerifier(workers=1, timeout_s=10.0) as verifier:
        pool = verifier._pool
        thread = threading.Thread(target=interrupt, args=(pool,))
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            pool.judge([SLOW, *PAIRS])
        thread.join()
        assert pool.judge(PAIRS) == VERDICTS


def test_a_worker_that_does_not_start_leaves_none_that_owes_verdicts() -> None:
    with MathVerifier(workers=2, timeout_s=10.0) as verifier:
        pool = verifier._pool
        pool._arguments = ("math", "no number")
        pool._workers[0].process.kill()
        pool._workers[0].process.wait()
        with pytest.raises(RewardError, match="did not start"):
            pool.judge([PAIRS[0], SLOW])
        assert pool._workers == []


def test_verdicts_of_other_items_are_not_taken(verifier: MathVerifier) -> None:
    pool = verifier._pool
    pool.start()
    for worker in pool._workers:
        worker.give(Share([0], 1.0, alone=False), PAIRS)
    assert pool.judge(PAIRS) == VERDICTS
