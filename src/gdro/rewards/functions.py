"""Reward functions for TRL: `reward_funcs=[math_reward(), format_reward()]`."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from gdro.common.installed import is_absent
from gdro.rewards.choices import chosen, gold_letter
from gdro.rewards.extract import after_thinking, answer_of, golds_of, last_boxed, plain, readings_of
from gdro.rewards.letters import bare, has_content
from gdro.rewards.messages import text_of
from gdro.rewards.verifier import MathVerifier, check_texts
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW, WRONG
from gdro.rewards.worker_pool import Pool, RewardError


class RewardFunction(Protocol):
    """A function that TRL calls with a batch and the dataset's columns, and logs by its `__name__`.

    Those of this module also have `largest`, their largest reward, and `reads`, the columns that they
    read, from which `GDROTrainer` derives correctness if `correct=` is not given.
    """

    __name__: str

    def __call__(self, *, completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        """Rewards, shape (R,)."""
        ...


def math_reward(
    verifier: MathVerifier | None = None, column: str = "answer", wrong: float = 0.0
) -> RewardFunction:
    """Reward 1 where math-verify accepts the completion's answer as equal to the gold one, else 0.

    Args:
        verifier: Verifier to use; default: one with two workers, created at the first call.
        column: Column of the gold answers.
        wrong: Reward of a wrong answer, below 1.

    Returns:
        The reward function.

    Raises:
        RewardError: `wrong` is not below 1, or math-verify is missing.
    """
    if not wrong < 1.0:
        raise RewardError(f"wrong is {wrong}; it must be below 1, the reward of a right answer")

    if verifier is None and is_absent("math_verify"):
        raise RewardError("math-verify is missing: pip install 'gdro[math]'")

    def math(completions: Sequence[Any], **columns: Any) -> list[float]:
        golds, judge = _column(columns, column), verifier or shared_verifier()
        timeouts, crashes = judge.timeouts, judge.crashes
        judged = judge.score(golds, texts_of(completions))
        _log(columns, "math", judge.timeouts - timeouts, judge.crashes - crashes)
        return [1.0 if right else wrong for right in judged]

    return _described(math, 1.0, column)


def first_line(reward: RewardFunction) -> RewardFunction:
    """Apply a reward to each completion's first line, for models that go on with further questions.

    Args:
        reward: Reward function for the line.

    Returns:
        The reward function.
    """

    def line(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        lines = [text.strip().partition("\n")[0] for text in texts_of(completions)]
        return reward(completions=lines, **columns)

    line.__name__ = f"{reward.__name__}_line"
    return _as_parts(line, {reward: 1.0})


def exact_match(column: str = "answer") -> RewardFunction:
    r"""Reward 1 where the completion's answer, or all of it after its thinking, is the gold text.

    Letter case, repeated spaces, fonts (`\text{Paris}`) and the composition of accents are ignored. A
    gold may be a number or a list of alternatives. An empty gold is nobody's answer.

    Args:
        column: Column of the gold answers.

    Returns:
        The reward function.
    """

    def exact(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        golds = _golds(columns, column)
        texts = texts_of(completions)
        answers = [{_folded(after_thinking(text)), _folded(answer_of(text) or "")} for text in texts]
        pairs = zip(golds, answers, strict=True)
        return [float(bool(set(map(_folded, gold)) & answer - {""})) for gold, answer in pairs]

    return _described(exact, 1.0, column)


def multiple_choice(column: str = "answer", choices: str = "ABCD") -> RewardFunction:
    """Reward 1 where the completion chooses the gold letter.

    The choice is the letter in a box or tag, or after words such as "answer is" or "I choose"; otherwise
    the only letter that can be one (`gdro.rewards.choices.chosen`). "A or B" is no choice.

    Args:
        column: Column of the gold letters, e.g. `B`, `b`, `(B)`, `B) seven`.
        choices: Letters that may be chosen.

    Returns:
        The reward function.

    Raises:
        RewardError: The choices are not distinct capital letters.
    """
    distinct = set(choices) & set(string.ascii_uppercase)
    if not choices or len(distinct) < len(choices):
        raise RewardError(f"choices are {choices!r}; they must be distinct capital letters")

    def choice(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        golds = [_letter(gold, column, choices) for gold in _column(columns, column)]
        pairs = zip(golds, texts_of(completions), strict=True)
        return [float(gold == chosen(text, choices)) for gold, text in pairs]

    return _described(choice, 1.0, column)


def format_reward(pattern: str | None = None) -> RewardFunction:
    """Reward 1 where the whole completion matches a pattern, else 0.

    Args:
        pattern: Regular expression, from a source you trust, because some take exponential time; `.`
            also matches line ends. Default: what follows the thinking has a box that closes and holds
            more than spaces and dots.

    Returns:
        The reward function.

    Raises:
        RewardError: The pattern is not a regular expression.
    """
    try:
        compiled = None if pattern is None else re.compile(pattern, re.DOTALL)
    except re.error as problem:
        raise RewardError(f"pattern {pattern!r} is not a regular expression: {problem}") from problem

    def format(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        texts = texts_of(completions)
        if compiled is None:
            return [float(has_content(last_boxed(after_thinking(text)) or "")) for text in texts]
        return [float(compiled.fullmatch(text) is not None) for text in texts]

    return _described(format, 1.0)


def gym_reward(
    column: str = "entry",
    workers: int = 2,
    timeout_s: float = 2.0,
    memory_mb: int = 512,
    batch_s: float | None = None,
) -> RewardFunction:
    """Reward by reasoning-gym's own scorers, from 0 to 1 in hundredths, in sandboxed workers.

    Args:
        column: Column of the entries as JSON, as `gdro.data` writes them.
        workers: Number of worker processes.
        timeout_s: Most CPU seconds per answer.
        memory_mb: Most megabytes that scoring may use in a worker.
        batch_s: CPU seconds per worker and call after which no answer is retried, see `MathVerifier`.

    Returns:
        The reward function. It raises a RewardError if a scorer gives less than 1 to its own entry's
        answer, as scorers do that run answers as Python code, which the workers refuse.
    """
    pool = Pool("gym", workers, timeout_s, memory_mb, batch_s)
    tried: set[str] = set()

    def gym(completions: Sequence[Any], **columns: Any) -> list[float]:
        entries = _texts(columns, column)
        _try(pool, entries, tried)
        readings = [readings_of(text) for text in texts_of(completions)]
        pairs = zip(entries, readings, strict=True)
        verdicts = iter(pool.judge([(entry, text) for entry, texts in pairs for text in texts]))
        # A reading that is too slow or crashes counts only where no other reading has a score.
        best = [max((next(verdicts) for _ in texts), key=_score, default=WRONG) for texts in readings]
        _log(columns, "gym", best.count(TOO_SLOW), best.count(CRASHED))
        return [max(_score(verdict), 0.0) for verdict in best]

    return _described(gym, 1.0, column)


def combined(parts: Mapping[RewardFunction, float]) -> RewardFunction:
    """Combine reward functions into one, their weighted sum.

    TRL's own way, `reward_funcs` with `reward_weights`, also logs each part.

    Args:
        parts: Weight of each reward function.

    Returns:
        The reward function.
    """

    def total(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        each = [part(completions=completions, **columns) for part in parts]
        weights = list(parts.values())
        return [sum(w * r for w, r in zip(weights, row, strict=True)) for row in zip(*each, strict=True)]

    return _as_parts(total, parts)


@cache
def shared_verifier() -> MathVerifier:
    """One verifier for the whole process; its workers end with the process."""
    return MathVerifier()


def texts_of(completions: Sequence[Any]) -> list[str]:
    """Texts of completions, each a text or a conversation, of which the last message is used.

    A message without content, or with parts that are no text, is an empty text.

    Raises:
        RewardError: A completion is something else.
    """
    texts: list[str] = [text_of(completion) for completion in completions]
    check_texts("completions", texts)
    return texts


def _described(function: Any, largest: float, *reads: str) -> RewardFunction:
    """The function with its largest reward and the columns that it reads as attributes."""
    function.largest, function.reads = largest, reads
    return function


def _as_parts(function: Any, parts: Mapping[RewardFunction, float]) -> RewardFunction:
    """The function with the attributes of its parts combined, where all parts have them."""
    most = [getattr(part, "largest", None) for part in parts]
    reads = [getattr(part, "reads", None) for part in parts]
    if None not in reads:
        function.reads = tuple(dict.fromkeys(name for names in reads for name in names or ()))
    if None not in most and min(parts.values(), default=0.0) >= 0:
        pairs = zip(most, parts.values(), strict=True)
        function.largest = float(sum((largest or 0.0) * weight for largest, weight in pairs))
    return function


def _log(columns: Mapping[str, Any], name: str, timeouts: int, crashes: int) -> None:
    """Log metrics of a batch, if the trainer (TRL) passes `log_metric`."""
    if (log := columns.get("log_metric")) is not None:
        log(f"rewards/{name}/timeouts", float(timeouts))
        log(f"rewards/{name}/crashes", float(crashes))


def _column(columns: Mapping[str, Sequence[Any]], name: str) -> list[Any]:
    if name not in columns:
        raise RewardError(f"no column {name!r}; the dataset has {', '.join(sorted(columns)) or 'none'}")
    return list(columns[name])


def _texts(columns: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    texts = _column(columns, name)
    check_texts(f"column {name!r}", texts)
    return texts


def _golds(columns: Mapping[str, Sequence[Any]], name: str) -> list[list[str]]:
    """The right texts of each row: a text as it is, a number as text, or a list of these."""
    golds: list[list[str]] = []
    for row, gold in enumerate(_column(columns, name)):
        try:
            golds.append([gold] if isinstance(gold, str) else golds_of(gold))
        except (TypeError, ValueError, OverflowError) as problem:
            raise RewardError(
                f"column {name!r}[{row}] is {problem}; it must be text, a number, or a list of them"
            ) from None
    return golds


def _letter(gold: Any, column: str, choices: str) -> str:
    """The letter of a gold."""
    letter = gold_letter(gold, choices) if isinstance(gold, str) else None
    if letter is None:
        index = str(gold).strip().isdigit()
        hint = f"; if it is an index from 0, convert it: {choices!r}[index]" if index else ""
        raise RewardError(
            f"column {column!r} holds {str(gold)[:80]!r}; it must hold one of {choices!r}{hint}"
        )
    return letter


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", bare(plain(text)).casefold()).split())


def _score(verdict: int) -> float:
    """The score of a verdict, below zero without one."""
    return -1.0 if verdict in (TOO_SLOW, CRASHED) else verdict / RIGHT


def _try(pool: Pool, entries: Sequence[str], tried: set[str]) -> None:
    """Check each new scorer on the answer of its own entry."""
    new: dict[str, str] = {}
    for entry in entries:
        new.setdefault(json.loads(entry)["metadata"]["source_dataset"], entry)
    new = {name: entry for name, entry in new.items() if name not in tried}
    verdicts = pool.judge([(entry, str(json.loads(entry)["answer"])) for entry in new.values()])
    for name, verdict in zip(new, verdicts, strict=True):
        if verdict != RIGHT:
            raise RewardError(
                f"reasoning-gym's scorer of {name!r} does not give 1 to its own answer inside a worker "
                "(some run answers as code, which is refused); do not use this dataset"
            )
    tried |= set(new)
