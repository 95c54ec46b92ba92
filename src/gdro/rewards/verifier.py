"""Which completions give the right answer, by math-verify."""

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
    """Says which completions give the gold answer, by math-verify; from any thread.

    Integers, decimals and fractions are compared as numbers where they are the same or clearly differ,
    and texts that are equal are equal; tests hold both to math-verify's own verdict. All else goes to
    worker processes, each of which judges in a forked child with bounded memory, without files, sockets
    or processes, and kills it when one answer takes more of the processor than `timeout_s`. An answer
    that takes more than an eighth of that, or ends its process, is judged once more by itself, after all
    others, with the rest of its time. What is too slow then, or is not judged once more because the
    batch's time is up, is wrong and counted in `timeouts`; what ends its process is wrong and counted in
    `crashes`. Only the processor's time counts, so that a busy machine changes no verdict.

    A process that was forked starts workers of its own when it needs them.

    Args:
        workers: Processes.
        timeout_s: Most seconds of the processor for one answer.
        memory_mb: Most megabytes that judging may take in a worker.
        batch_s: Seconds of each worker's processor in one call, after which no answer is judged once
            more; so a call takes `timeout_s` longer at most where each worker has a processor (or 0.05
            for each answer of a worker's share, where that is more). Default: 4 `timeout_s`, and 0.1 for
            each answer of a worker's share.

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
        """Judge completions.

        Args:
            golds: The right answer of each, LaTeX or plain, shape (R,).
            completions: What the model wrote, shape (R,); `answer_of` says how the answer is found.

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: The lengths differ, an entry is no text, the verifier is closed, a worker or
                the process that it judges in does not start, or workers are killed or kept from the
                processor again and again.
        """
        if len(golds) != len(completions):
            raise RewardError(f"{len(golds)} golds and {len(completions)} completions; give one of each")
        check_texts("golds", golds)
        check_texts("completions", completions)
        return self.compare([plain(gold) for gold in golds], [answer_of(text) for text in completions])

    def compare(self, golds: Sequence[str], answers: Sequence[str | None]) -> list[bool]:
        """Judge answers that were found already; None is wrong.

        Args:
            golds: The right answers, shape (R,).
            answers: Those given, shape (R,).

        Returns:
            Whether each is right, shape (R,).

        Raises:
            RewardError: As `score`, of what concerns the verifier.
        """
        pairs = [(gold, answer or "") for gold, answer in zip(golds, answers, strict=True)]
        found = [_at_once(*pair) for pair in pairs]
        hard = [i for i, verdict in enumerate(found) if verdict is None]
        for i, verdict in zip(hard, self._pool.judge([pairs[i] for i in hard]), strict=True):
            found[i] = verdict == RIGHT
            self.timeouts += verdict == TOO_SLOW
            self.crashes += verdict == CRASHED
        return [bool(verdict) for verdict in found]


def check_texts(name: str, texts: Sequence[object]) -> None:
    """Raise a RewardError that names the first entry which is no text."""
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise RewardError(f"{name}[{at}] is {type(text).__name__}; it must be text")


def _at_once(gold: str, answer: str) -> bool | None:
    """A verdict that needs no mathematics; None where there is none."""
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
    """The integer, decimal or fraction that a text is, if it is no more than that."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    over = found["number"] if found["over"] is None else f"{found['over']}/{found['under']}"
    return Fraction(found["sign"] + over)
