"""Trouble of the machine costs time, or is an error: it is no wrong answer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time

import pytest

from gdro.rewards import MathVerifier, RewardError, math_reward, pool, worker
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW, UNFORKED
from gdro.rewards.worker import verdicts_of

SLOW = "(" * 300 + "1" + ")" * 300
MEMORY = 256 << 20


def test_a_stall_is_not_slow() -> None:
    """A child that waits for three times its time has not used it."""

    def stalls(gold: str, answer: str) -> float:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            time.sleep(0.05)  # as a child that gets no processor
        return 1.0

    assert verdicts_of([("a", "b")], stalls, 0.5, MEMORY) == [RIGHT]
    assert verdicts_of([("a", "b")], stalls, 0.05, MEMORY) == [CRASHED]  # ten times is no stall


def test_a_fork_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[None] = []

    def fork() -> int:
        tries.append(None)
        if len(tries) < most:
            raise OSError(errno.EAGAIN, "no process")
        return real()

    real, most = os.fork, 3
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(worker.os, "fork", fork)
    assert verdicts_of([("a", "b")], lambda gold, answer: 1.0, 5.0, MEMORY) == [RIGHT]
    most = 1_000
    assert verdicts_of([("a", "b")], lambda gold, answer: 1.0, 5.0, MEMORY) == [UNFORKED]


def test_no_process_to_judge_in_is_an_error() -> None:
    batch = pool._Batch([("a", "b")] * 8, workers=2)
    for _ in range(2):
        items, alone = batch.share()
        batch.judged(items, alone, [UNFORKED])
    items, alone = batch.share()
    with pytest.raises(RewardError, match="no process could be started to judge"):
        batch.judged(items, alone, [UNFORKED])


def test_a_worker_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RewardError, match=r"a worker could not be started: .*temporarily"):
        MathVerifier(workers=1).score(["1/2"], ["0.5"])


def test_workers_killed_while_they_judge_lose_no_answer() -> None:
    golds, given = ["\\frac{1}{2}"] * 200, ["2^{-1}"] * 200
    with MathVerifier(workers=1, timeout_s=10.0) as verifier:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.extend(verifier.compare(golds, given)))
        thread.start()
        os.kill(verifier._pool._workers[0].process.pid, signal.SIGKILL)
        thread.join()
        assert found == [True] * 200
        assert verifier.crashes == verifier.timeouts == 0


def test_what_came_to_nothing_is_judged_once_more_after_all_others() -> None:
    batch = pool._Batch([("a", "b")] * 4, workers=1)
    assert batch.share() == ([0, 1], False)
    batch.judged([0, 1], False, [TOO_SLOW])
    assert batch.share() == ([1, 2], False)
    batch.judged([1, 2], False, [RIGHT, CRASHED])
    assert batch.share() == ([3], False)
    batch.judged([3], False, [RIGHT])
    assert batch.share() == ([0], True)
    batch.judged([0], True, [RIGHT])
    assert batch.share() == ([2], True)
    batch.judged([2], True, [CRASHED])
    assert batch.share() == ([], True)
    assert batch.verdicts == [RIGHT, RIGHT, CRASHED, RIGHT]


def test_a_batch_has_a_deadline_which_costs_good_answers_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The slow ones' own time, 8 seconds each, would be 18 in all."""
    golds = ["\\frac{1}{2}"] * 32
    given = [SLOW if i % 8 == 0 else "2^{-1}" for i in range(32)]
    logged: dict[str, float] = {}
    with MathVerifier(workers=2, timeout_s=8.0, batch_s=12.0) as verifier:
        right = math_reward(verifier)(
            completions=[f"\\boxed{{{text}}}" for text in given],
            answer=golds,
            log_metric=logged.__setitem__,
        )
        assert len(verifier._pool._workers) < 2  # those that were still at it were stopped
        assert right == [float(text != SLOW) for text in given]
        assert verifier.timeouts == 4
    assert logged == {"rewards/math/timeouts": 4.0, "rewards/math/crashes": 0.0}
    assert "of 32 answers 4 were too slow" in caplog.text


def test_a_deadline_that_cannot_be() -> None:
    with pytest.raises(RewardError, match="batch_s=0"):
        MathVerifier(batch_s=0.0)
