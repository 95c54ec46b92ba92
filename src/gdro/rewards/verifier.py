"""Grading of mathematical answers by math-verify."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import NamedTuple

from gdro.rewards.extract import LONGEST, answer_of, golds_of
from gdro.rewards.intervals import as_one_kind
from gdro.rewards.notation import choice, in_base, notation
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW
from gdro.rewards.worker_pool import Pool, RewardError

_DIGITS = r"(?:0|[1-9][0-9]{0,14})"  # not \d, which is any script's
_NUMBER = re.compile(
    rf"(?P<sign>-?)(?:(?P<number>{_DIGITS}(?:\.[0-9]{{1,9}})?)"
    rf"|(?:\\[dt]?frac\{{(?P<over>{_DIGITS})\}}\{{(?P<under>[1-9][0-9]{{0,14}})\}}))"
)
# Spaces that separate no words or numbers: "13 .0" and "2. 5" are two numbers each.
_BESIDE = re.compile(r"(?<![0-9A-Za-z.])\s+|\s+(?![0-9A-Za-z.])")
_CLEAR = Fraction(1, 1000)  # relative; math-verify compares six decimal places


class Judged(NamedTuple):
    """Verdicts of one call.

    Attributes:
        right: Whether each answer is right, shape (R,).
        timeouts: Comparisons that were too slow.
        crashes: Comparisons that ended their process.
    """

    right: list[bool]
    timeouts: int
    crashes: int


class MathVerifier:
    """Grades completions against gold answers by math-verify; may be used from any thread.

    Integers, decimals and fractions that are equal or differ clearly are compared as numbers, and equal
    texts are equal; tests check both against math-verify. All else goes to worker processes. Each grades
    in a forked child with limited memory and without files, sockets or processes, and kills the child
    when an answer takes more CPU time than `timeout_s`. An answer that takes more than an eighth of
    that, or ends its process, is tried once more by itself, after all others, with the rest of its time.
    An answer that is still too slow, or gets no second try because the batch's time is up, is wrong and
    counted in `timeouts`; one that ends its process is wrong and counted in `crashes`. Only CPU time
    counts, so that a busy machine changes no verdict.

    A forked copy of the process starts its own workers when it needs them.

    Args:
        workers: Number of worker processes.
        timeout_s: Most CPU seconds per answer.
        memory_mb: Most megabytes that grading may use in a worker.
        batch_s: CPU seconds per worker and call after which no answer is tried again. A call can take
            `timeout_s` longer (or 0.05 s for each answer of a worker's share, if that is more), given a
            CPU per worker. Default: 4 `timeout_s`, plus 0.1 for each answer of a worker's share.

    Raises:
        RewardError: An argument is out of range, or this is not Linux.

    >>> with MathVerifier(workers=1) as verifier:
    ...     verifier.score(["1/2", "3"], ["so it is \\\\boxed{0.5}", "#### 4"])
    [True, False]
    """

    def __init__(
        self,
        workers: int = 2,
        timeout_s: float = 2.0,
        memory_mb: int = 512,
        batch_s: float | None = None,
    ) -> None:
        self.timeouts = self.crashes = 0
        self._pool = Pool("math", workers, timeout_s, memory_mb, batch_s)

    def __enter__(self) -> MathVerifier:
        self._pool.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers; a later `score` that needs them is refused."""
        self._pool.close()

    def score(self, golds: Sequence[object], completions: Sequence[str]) -> list[bool]:
        """Whether completions are right; `judge` also counts those that could not be judged.

        Args:
            golds: The right answer of each, LaTeX or plain: a text, a number, or a list of alternatives
                (in JSON too), shape (R,).
            completions: What the model wrote, shape (R,); `answer_of` says how the answer is found.

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: The lengths differ, an entry is no text, a gold is no answer or too long, the
                verifier is closed, a worker or the process that it judges in does not start, or workers
                are killed or kept from the processor again and again.
        """
        return self.judge(golds, completions).right

    def judge(self, golds: Sequence[object], completions: Sequence[str]) -> Judged:
        """Judge completions, as `score`, and count those of this call that were too slow or crashed.

        The attributes `timeouts` and `crashes` add up the calls of all threads.

        Args:
            golds: As in `score`, shape (R,).
            completions: As in `score`, shape (R,).

        Returns:
            Whether each is right, and this call's counts.

        Raises:
            RewardError: As `score`.
        """
        if len(golds) != len(completions):
            raise RewardError(f"{len(golds)} golds and {len(completions)} completions; give one of each")
        check_texts("completions", completions)
        return self._judged(_alternatives(golds), [answer_of(text) for text in completions])

    def compare(self, golds: Sequence[str | Sequence[str]], answers: Sequence[str | None]) -> list[bool]:
        """Judge answers that were found already; None is wrong.

        Args:
            golds: The right answer of each, or its alternatives, shape (R,).
            answers: Those given, shape (R,).

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: The verifier or its workers fail, as in `score`.
        """
        return self._judged(golds, answers).right

    def _judged(self, golds: Sequence[str | Sequence[str]], answers: Sequence[str | None]) -> Judged:
        rows: list[int] = []
        pairs: list[tuple[str, str]] = []
        for row, (gold, answer) in enumerate(zip(golds, answers, strict=True)):
            for text in [gold] if isinstance(gold, str) else gold:
                pair = as_one_kind(notation(text), notation(answer or ""))
                if pair is not None:
                    rows.append(row)
                    pairs.append(pair)
        verdicts = [_at_once(*pair) for pair in pairs]
        hard = [i for i, verdict in enumerate(verdicts) if verdict is None]
        judged = self._pool.judge([pairs[i] for i in hard])
        for i, verdict in zip(hard, judged, strict=True):
            verdicts[i] = verdict == RIGHT
        timeouts, crashes = judged.count(TOO_SLOW), judged.count(CRASHED)
        self.timeouts += timeouts
        self.crashes += crashes
        right = {row for row, verdict in zip(rows, verdicts, strict=True) if verdict}
        return Judged([row in right for row in range(len(golds))], timeouts, crashes)


def _alternatives(golds: Sequence[object]) -> list[list[str]]:
    """The right answers of each gold; raises a RewardError that names the first unfit one."""
    answers: list[list[str]] = []
    for at, gold in enumerate(golds):
        try:
            answers.append(golds_of(gold))
        except (TypeError, ValueError, OverflowError) as problem:
            what = problem if isinstance(problem, TypeError) else f"a {type(gold).__name__} ({problem})"
            raise RewardError(
                f"golds[{at}] is {what}; it must be text, a finite number, or a list of alternatives"
            ) from None
        longest = max(map(len, answers[-1]))
        if longest > LONGEST:
            raise RewardError(
                f"golds[{at}] has {longest} characters and no \\boxed{{}}: a solution, not an answer; "
                f"pass the answer alone, at most {LONGEST} characters"
            )
    return answers


def check_texts(name: str, texts: Sequence[object]) -> None:
    """Raise a RewardError that names the first entry that is not text."""
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise RewardError(f"{name}[{at}] is {type(text).__name__}; it must be text")


def _at_once(gold: str, answer: str) -> bool | None:
    """The verdict, if it needs no math-verify, else None."""
    if not answer or len(gold) > LONGEST:
        return False
    if _BESIDE.sub("", gold) == _BESIDE.sub("", answer):
        return True
    letter = choice(gold, answer)
    if letter is not None:
        return letter
    based, given = in_base(gold), in_base(answer)
    if based is not None and given is not None:
        return based == given
    one, other = _number(gold), _number(answer)
    if one is None or other is None:
        return None
    if one == other or one.denominator == other.denominator == 1:
        return one == other
    clear = abs(one - other) > _CLEAR * max(1, abs(one), abs(other))
    return False if clear else None


def _number(text: str) -> Fraction | None:
    """The value of a text that is just an integer, decimal or fraction, else None."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    over = match["number"] if match["over"] is None else f"{match['over']}/{match['under']}"
    return Fraction(match["sign"] + over)
