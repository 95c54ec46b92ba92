"""Which completions give the right answer, by math-verify."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import TracebackType

from gdro.rewards.extract import LONGEST, answer_of, plain
from gdro.rewards.pool import Pool, RewardError
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW

_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,14})")


class MathVerifier:
    """Says which completions give the gold answer, by math-verify; from any thread.

    Integers are compared as integers, and texts that are equal are equal; tests hold both to
    math-verify's own verdict. All else goes to worker processes, each of which judges in a forked
    child with bounded memory, without files, sockets or processes, and kills it when one answer takes
    longer than `timeout_s`. Such an answer is wrong, and is counted in `timeouts`; one that ends its
    process is wrong too, and is counted in `crashes`.

    Args:
        workers: Processes.
        timeout_s: Most seconds for one answer.
        memory_mb: Most megabytes that judging may take in a worker.

    Raises:
        RewardError: An argument is out of range, or this is not Linux.

    >>> with MathVerifier(workers=1) as verifier:
    ...     verifier.score(["1/2", "3"], ["so it is \\\\boxed{0.5}", "#### 4"])
    [True, False]
    """

    def __init__(self, workers: int = 2, timeout_s: float = 2.0, memory_mb: int = 512) -> None:
        self.timeouts = self.crashes = 0
        self._pool = Pool("math", workers, timeout_s, memory_mb)

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
            RewardError: The lengths differ, an entry is no text, the verifier is closed, or a worker
                does not start.
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
            RewardError: The verifier is closed, or a worker does not start.
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
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return int(gold) == int(answer)
    return True if gold == answer else None
