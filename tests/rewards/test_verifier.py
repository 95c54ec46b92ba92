"""MathVerifier against math-verify itself, in threads, and after its workers died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from gdro.rewards import MathVerifier, RewardError
from gdro.rewards.verifier import _at_once

PAIRS = {
    "18": "18.0",
    r"\frac{1}{2}": "0.5",
    r"\left( 3, \frac{\pi}{2} \right)": r"(3,\frac{\pi}{2})",
    "x^2 + 2x + 1": "(x+1)^2",
    r"\text{Evelyn}": "Evelyn",
    "[0, 1)": r"\left[0,1\right)",
    r"\{1, 2\}": r"\{2,1\}",
    r"50\%": "0.5",
    r"\sqrt{2}": "2^{1/2}",
    "1,000": "1000",
    "-0.5": r"-\frac12",
    r"3\pi": r"\pi \cdot 3",
    "x=4": "4",
    r"\begin{pmatrix}1\\2\end{pmatrix}": "\\begin{pmatrix}\n1\\\\\n2\n\\end{pmatrix}\\\\",
}
GOLD, SAME = list(PAIRS), list(PAIRS.values())


def boxed(answers: list[str]) -> list[str]:
    return [f"So we get $\\boxed{{{answer}}}$." for answer in answers]


def test_golds_are_right_and_others_wrong(verifier: MathVerifier) -> None:
    assert all(verifier.score(GOLD, boxed(GOLD)))
    others = GOLD[1:] + GOLD[:1]
    assert not any(verifier.score(GOLD, boxed(others)))


def test_what_is_equal_is_right(verifier: MathVerifier) -> None:
    found = dict(zip(zip(GOLD, SAME, strict=True), verifier.score(GOLD, boxed(SAME)), strict=True))
    assert all(found.values()), [pair for pair, right in found.items() if not right]


def test_nothing_is_wrong(verifier: MathVerifier) -> None:
    assert verifier.score(["5", "5", ""], ["", "I do not know", ""]) == [False, False, False]
    assert verifier.score([], []) == []


integers = st.integers(-(10**15) + 1, 10**15 - 1)


@given(integers, integers, st.booleans())
@settings(max_examples=150, deadline=None)
def test_integers_at_once_are_what_math_verify_says(a: int, b: int, same: bool) -> None:
    gold, answer = str(a), str(a if same else b)
    theirs = verify(parse(f"${gold}$"), parse(f"${answer}$"))
    verifier = MathVerifier()
    verifier.close()  # a verdict that needs a worker is refused from here on
    assert verifier.compare([gold], [answer]) == [theirs]


def form(number: Fraction, kind: str) -> str:
    """A number as a decimal if it is one, or as a fraction, whose parts may have a factor in common."""
    if kind == "decimal" and number.denominator in (1, 2, 4, 5, 8, 10, 20, 25):
        return f"{float(number):f}".rstrip("0").rstrip(".") + (".50" if number.denominator == 1 else "")
    sign, parts = "-" if number < 0 else "", (abs(number.numerator), number.denominator)
    over, under = parts if kind != "double" else (2 * parts[0], 2 * parts[1])
    return f"{sign}\\{'dfrac' if kind == 'dfrac' else 'frac'}{{{over}}}{{{under}}}"


numbers = st.builds(
    Fraction, st.integers(-300, 300), st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 20, 100])
)
kinds = st.sampled_from(["decimal", "frac", "dfrac", "double"])


@given(numbers, numbers, kinds, kinds, st.booleans())
@settings(max_examples=300, deadline=None)
def test_numbers_at_once_are_what_math_verify_says(
    one: Fraction, other: Fraction, first: str, second: str, same: bool
) -> None:
    gold, answer = form(one, first), form(one if same else other, second)
    at_once = _at_once(gold, answer)
    if at_once is not None:
        assert at_once == verify(parse(f"${gold}$"), parse(f"${answer}$")), (gold, answer)
    assert at_once is not None or abs(one - other) < 1


@pytest.mark.parametrize(
    ("gold", "answer", "at_once"),
    [
        ("0.5", r"\frac{1}{2}", True),
        (r"-\frac{2}{4}", "-0.5", True),
        ("18", "18.0", True),
        ("3", r"\dfrac{6}{2}", True),
        ("0.33", r"\frac{1}{3}", False),
        ("0.3333", r"\frac{1}{3}", None),
        ("100000", "100000.5", None),
        ("1", r"\frac{1}{0}", None),
        ("007", "7", None),
        ("1,000", "1000", None),
        ("50", r"50\%", None),
        ("1/2", "0.5", None),
        ("--1", "1", None),
        (r"\frac{-1}{2}", "-0.5", None),
        ("x", "x", True),
        ("x", "y", None),
        ("5", "", False),
    ],
)
def test_what_is_said_at_once(gold: str, answer: str, at_once: bool | None) -> None:
    assert _at_once(gold, answer) is at_once


@pytest.mark.parametrize("gold", GOLD)
def test_equal_texts_at_once_are_what_math_verify_says(gold: str) -> None:
    assert verify(parse(f"${gold}$"), parse(f"${gold}$"))


def test_threads_share_a_verifier(verifier: MathVerifier) -> None:
    found: list[list[bool]] = []
    texts = boxed(SAME)

    def ask() -> None:
        found.append(verifier.score(GOLD, texts))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[True] * len(GOLD)] * 4


def test_a_worker_that_dies_is_replaced() -> None:
    with MathVerifier(workers=2, timeout_s=10.0) as verifier:
        for worker in verifier._pool._workers:
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
        found = verifier.score(GOLD * 4, boxed(SAME * 4))
        # What they held is judged by their successors.
        assert found.count(False) == verifier.crashes == 0
        assert all(verifier.score(GOLD, boxed(SAME)))


def test_workers_end_with_the_verifier() -> None:
    with MathVerifier(workers=2) as verifier:
        pids = [worker.process.pid for worker in verifier._pool._workers]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert verifier.score(["1"], ["1"]) == [True]  # needs no worker
    with pytest.raises(RewardError, match="closed"):
        verifier.score(["1/2"], ["0.5"])


def test_workers_end_with_a_killed_parent() -> None:
    code = (
        "from gdro.rewards import MathVerifier; v = MathVerifier(workers=1); v.score(['1/2'], ['0.5']);"
        "print(v._pool._workers[0].process.pid, flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = Path(f"/proc/{int(parent.stdout.readline())}")
    assert worker.exists()
    parent.kill()
    parent.communicate()
    for _ in range(200):
        if not worker.exists() or "Z (zombie)" in (worker / "status").read_text():
            return
        threading.Event().wait(0.05)
    raise AssertionError("the worker outlived its parent")


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"workers": 0}, "workers=0"),
        ({"timeout_s": 0.0}, "timeout_s=0.0"),
        ({"memory_mb": 1}, "64 or more"),
        ({"timeout_s": float("inf")}, "finite"),
    ],
)
def test_bad_arguments(options: dict, wrong: str) -> None:
    with pytest.raises(RewardError, match=wrong):
        MathVerifier(**options)


def test_bad_input(verifier: MathVerifier) -> None:
    with pytest.raises(RewardError, match="2 golds and 1 completions"):
        verifier.score(["1", "2"], ["1"])
    with pytest.raises(RewardError, match=r"completions\[1\] is NoneType"):
        verifier.score(["1", "2"], ["1", None])
    for gold in (None, b"1", {"a": 1}, [], True, float("nan"), np.inf, 10**5000):
        with pytest.raises(RewardError, match=r"golds\[0\] is .*; it must be text, a finite number"):
            verifier.score([gold], ["1"])
    with pytest.raises(RewardError, match=r"golds\[1\] has 1200 characters .*not an answer"):
        verifier.score(["1", "word " * 240], ["1", "2"])


def test_golds_may_be_numbers_and_lists_of_alternatives(verifier: MathVerifier) -> None:
    golds = [12, 12.0, 0.5, np.float32(0.5), ["7", "8"], np.array([3, 4]), '["8", "2^3"]', "[1, 2]"]
    answers = ["12", "12", "1/2", "0.5", "8", "4", "8", "[1,2]"]
    assert verifier.score(golds, [f"\\boxed{{{answer}}}" for answer in answers]) == [True] * len(golds)
    assert not any(verifier.score(golds, ["\\boxed{11}"] * len(golds)))
