"""Grading of mathematical answers by math-verify."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType

from gdro.rewards.extract import LONGEST, answer_of, plain
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW
from gdro.rewards.worker_pool import Pool, RewardError

_DIGITS = r"(?:0|[1-9][0-9]{0,14})"  # not \d, which is any script's
_NUMBER = re.compile(
    rf"(?P<sign>-?)(?:(?P<number>{_DIGITS}(?:\.[0-9]{{1,9}})?)"
    rf"|(?:\\[dt]?frac\{{(?P<over>{_DIGITS})\}}\{{(?P<under>[1-9][0-9]{{0,14}})\}}))"
)
_CLEAR = Fraction(1, 1000)  # relative; math-verify compares six decimal places


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

    def score(self, golds: Sequence[str], completions: Sequence[str]) -> list[bool]:
        """Grade completions.

        Args:
            golds: Right answer of each completion, LaTeX or plain, shape (R,).
            completions: Texts of the model, shape (R,); `answer_of` extracts their answers.

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: The lengths differ, an entry is not text, the verifier is closed, a worker or
                its child does not start, or workers are killed or get no CPU time repeatedly.
        """
        if len(golds) != len(completions):
            raise RewardError(f"{len(golds)} golds and {len(completions)} completions; give one of each")
        check_texts("golds", golds)
        check_texts("completions", completions)
        return self.compare([plain(gold) for gold in golds], [answer_of(text) for text in completions])

    def compare(self, golds: Sequence[str], answers: Sequence[str | None]) -> list[bool]:
        """Grade answers that are extracted already.

        Args:
            golds: Right answers, shape (R,).
            answers: Answers to grade, shape (R,); None is wrong.

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: The verifier or its workers fail, as in `score`.
        """
        pairs = [(gold, answer or "") for gold, answer in zip(golds, answers, strict=True)]
        right = [_at_once(*pair) for pair in pairs]
        hard = [i for i, verdict in enumerate(right) if verdict is None]
        for i, verdict in zip(hard, self._pool.judge([pairs[i] for i in hard]), strict=True):
            right[i] = verdict == RIGHT
            self.timeouts += verdict == TOO_SLOW
            self.crashes += verdict == CRASHED
        return [bool(verdict) for verdict in right]


def check_texts(name: str, texts: Sequence[object]) -> None:
    """Raise a RewardError that names the first entry that is not text."""
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise RewardError(f"{name}[{at}] is {type(text).__name__}; it must be text")


def _at_once(gold: str, answer: str) -> bool | None:
    """The verdict, if it needs no math-verify, else None."""
    if not answer or len(gold) > LONGEST:
        return False
    if gold == answer:
        return True
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
