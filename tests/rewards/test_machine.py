"""Trouble of the machine costs time, or is an error: it is no wrong answer."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gdro.rewards import MathVerifier, RewardError, math_reward, worker, worker_pool
from gdro.rewards.batch import Batch, Share
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW, UNFORKED, WRONG
from gdro.rewards.worker import verdicts_of
from gdro.rewards.worker_pool import Pool

ENDLESS = "9^{9^{9^{9}}}"  # minutes of the processor, far more than any limit here
MEMORY = 256 << 20

# A worker that judges nothing: it speaks as one does, and what it does with a share is given.
STAND_IN = """
import os, signal, sys, time
from pathlib import Path
from gdro.rewards.wire import receive, send
going, coming = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
send(going, "ready")
while (given := receive(coming)) is not None:
    number, limit_s, items = given
    {body}
    send(going, [number, verdicts, used_s])
"""


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has pools start stand-ins for workers, which run this for each share."""

    def use(body: str) -> None:
        code = STAND_IN.replace("{body}", body.strip().replace("\n", "\n    "))
        monkeypatch.setattr(worker_pool, "module_command", lambda *_: [sys.executable, "-c", code])

    return use


def test_a_stall_is_not_slow() -> None:
    """A child that waits for three times its time has not used it."""

    def stalls(gold: str, answer: str) -> float:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            time.sleep(0.05)  # as a child that gets no processor
        return 1.0

    assert verdicts_of([("a", "b")], stalls, 0.5, MEMORY) == [RIGHT]


def test_what_waits_forever_is_ended() -> None:
    def waits(gold: str, answer: str) -> float:
        signal.pause()
        return 1.0

    assert verdicts_of([("a", "b")], waits, 0.02, MEMORY) == [CRASHED]


def test_a_wait_of_this_process_itself_is_not_the_childs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes by the clock in each wait, as when all processes were stopped together."""
    now, wait = [0.0], worker.select.select

    def stopped(*given: object) -> object:
        now[0] += 60.0
        return wait(*given)

    def later(gold: str, answer: str) -> float:
        time.sleep(1.0)
        return 1.0

    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker.select, "select", stopped)
    assert verdicts_of([("a", "b")], later, 0.2, MEMORY) == [RIGHT]


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


@pytest.mark.parametrize(
    "body",
    [f"verdicts, used_s = [{UNFORKED}], 0.0", "os.kill(os.getpid(), signal.SIGKILL)"],
    ids=["no process to judge in", "workers killed again and again"],
)
def test_a_machine_that_judges_nothing_is_an_error(stand_in: Callable[[str], None], body: str) -> None:
    stand_in(body)
    judges = Pool("math", 2, 2.0, 512)
    with pytest.raises(RewardError, match=r"workers were killed, or had no process .* again and again"):
        judges.judge([("a", "b")] * 8)
    judges.close()


def test_workers_that_are_stopped_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a batch of zeros; and the next call has others."""
    monkeypatch.setattr(worker_pool, "_PATIENCE", 1.0)
    with MathVerifier(workers=1, batch_s=0.5) as verifier:
        monkeypatch.setattr(worker_pool, "_PATIENCE_S", 0.0)
        os.kill(verifier._pool._workers[0].process.pid, signal.SIGSTOP)
        with pytest.raises(RewardError, match="1 answers were not judged in 2 s: something stopped"):
            verifier.score(["1/2"], ["0.5"])
        monkeypatch.setattr(worker_pool, "_PATIENCE_S", 60.0)
        assert verifier.score(["1/2"], ["0.5"]) == [True]


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


def first(items: list[int]) -> Share:
    return Share(items, 0.25, alone=False)


def again(item: int) -> Share:
    return Share([item], 1.75, alone=True)


def test_what_came_to_nothing_is_judged_once_more_after_all_others() -> None:
    """What crashed before what was slow; a share that was lost is as if it had not been given."""
    batch = Batch([("a", "b")] * 4, workers=1, timeout_s=2.0)
    assert batch.share() == first([0, 1])
    batch.judged(first([0, 1]), [TOO_SLOW], 0.25)
    assert batch.share() == first([1, 2])
    batch.lost(first([1, 2]))
    assert batch.share() == first([1, 2])
    batch.judged(first([1, 2]), [RIGHT, CRASHED], 0.1)
    assert batch.share() == first([3])
    batch.judged(first([3]), [UNFORKED], 0.0)
    assert batch.share() == first([3])
    batch.judged(first([3]), [RIGHT], 0.1)
    assert batch.share() == again(2)
    batch.judged(again(2), [UNFORKED], 0.0)
    assert batch.share() == again(2)
    batch.judged(again(2), [CRASHED], 0.1)
    assert batch.share() == again(0)
    batch.judged(again(0), [RIGHT], 0.1)
    assert batch.share() is None
    assert batch.verdicts == [RIGHT, RIGHT, CRASHED, RIGHT]
    assert batch.troubles == 3


def test_slow_answers_end_with_the_batchs_time() -> None:
    """4 s of two processors, of which the first tries took 1.5: second tries while there is time."""
    batch = Batch([("a", "b")] * 6, workers=2, timeout_s=2.0, batch_s=2.0)
    while (share := batch.share()) is not None and not share.alone:
        batch.judged(share, [TOO_SLOW], 0.25)
    for item in (0, 1):
        assert share == again(item)
        batch.judged(share, [RIGHT], 1.75)
        share = batch.share()
    assert share is None
    assert batch.verdicts == [RIGHT, RIGHT, *[TOO_SLOW] * 4]


@pytest.mark.parametrize("slow", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_any_number_of_slow_answers_leaves_the_others_their_turn(slow: float) -> None:
    """A step of 1,024: all are tried, in the time that is stated, and no good one is lost."""
    rng, workers = random.Random(0), 2
    bad = [rng.random() < slow for _ in range(1024)]
    batch = Batch([("a", "b")] * 1024, workers, timeout_s=2.0)
    used_s, limits = 0.0, set[float]()
    while (share := batch.share()) is not None:
        verdicts = [TOO_SLOW if bad[i] else RIGHT for i in share.items]
        end = verdicts.index(TOO_SLOW) + 1 if TOO_SLOW in verdicts else len(verdicts)
        # A good one's hundredth of a second, and what a child costs.
        took_s = 0.02 + sum(share.limit_s if bad[i] else 0.01 for i in share.items[:end])
        batch.judged(share, verdicts[:end], took_s)
        used_s += took_s
        limits.add(share.limit_s)
    assert batch.verdicts == [TOO_SLOW if is_bad else RIGHT for is_bad in bad]
    assert used_s / workers < 4 * 2.0 + 0.1 * 512 + 2.0
    assert limits <= {0.05, 0.25, 1.75}
    assert (0.05 in limits) == (
        slow > 0.1
    )  # short first tries are for batches that are full of slow ones


def test_a_worker_without_work_takes_what_another_gives_back(
    stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    """One has two slow answers when the other has judged the rest: each judges one once more."""
    stand_in(f"""
here, used_s = Path({str(tmp_path)!r}), 0.0
slow = [i for i, (gold, answer) in enumerate(items) if answer == "slow"]
verdicts = [{RIGHT}] * len(items)
if limit_s > 1.0:
    (here / str(os.getpid())).touch()
    until = time.monotonic() + 20.0
    while len(list(here.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    verdicts = [{RIGHT} if len(list(here.iterdir())) == 2 else {WRONG}]
elif slow:
    time.sleep(0.5)
    verdicts = verdicts[:slow[0]] + [{TOO_SLOW}]
""")
    judges = Pool("math", 2, 2.0, 512)
    assert judges.judge([("a", "slow")] * 2 + [("a", "b")] * 6) == [RIGHT] * 8
    judges.close()


def test_slow_answers_cost_good_ones_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real ones, which no machine judges in the time: good ones between them are right on any."""
    tries: list[int] = []
    share = Batch.share

    def seen(batch: Batch) -> Share | None:
        if (given := share(batch)) is not None and given.alone:
            tries.append(given.items[0])
        return given

    monkeypatch.setattr(Batch, "share", seen)
    given = [ENDLESS if i % 2 == 0 else "2^{-1}" for i in range(8)]
    logged: dict[str, float] = {}
    with MathVerifier(workers=2, timeout_s=4.0, batch_s=2.2) as verifier:
        right = math_reward(verifier)(
            completions=[f"\\boxed{{{text}}}" for text in given],
            answer=["\\frac{1}{2}"] * 8,
            log_metric=logged.__setitem__,
        )
        assert right == [float(text != ENDLESS) for text in given]
        assert verifier.timeouts == 4
    assert 1 <= len(tries) <= 2  # the time was up for the others
    assert logged == {"rewards/math/timeouts": 4.0, "rewards/math/crashes": 0.0}
    assert "of 8 answers 4 were too slow" in caplog.text


def test_a_deadline_that_cannot_be() -> None:
    with pytest.raises(RewardError, match="batch_s=0"):
        MathVerifier(batch_s=0.0)
