"""Reward functions for TRL: `reward_funcs=[math_reward(), format_reward()]`."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from gdro.common.installed import is_absent
from gdro.rewards.extract import after_thinking, answer_of, last_boxed, plain
from gdro.rewards.verifier import MathVerifier, check_texts
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW
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
    """Reward 1 where the completion's answer is the gold text, ignoring case and repeated spaces.

    Args:
        column: Column of the gold answers.

    Returns:
        The reward function.
    """

    def exact(completions: Sequence[Any], **columns: Sequence[Any]) -> list[float]:
        golds = _texts(columns, column)
        texts = texts_of(completions)
        answers = [(_folded(text), _folded(answer_of(text) or "")) for text in texts]
        return [float(_folded(gold) in pair) for gold, pair in zip(golds, answers, strict=True)]

    return _described(exact, 1.0, column)


def multiple_choice(column: str = "answer", choices: str = "ABCD") -> RewardFunction:
    """Reward 1 where the completion chooses the gold letter.

    The choice is the letter in a box, a tag, or after "answer is" or "Answer:", with or without
    parentheses; otherwise the last of the choices' letters that stands alone.

    Args:
        column: Column of the gold letters.
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
        golds = [plain(gold).upper() for gold in _texts(columns, column)]
        if wrong := [gold for gold in golds if gold not in choices or len(gold) != 1]:
            raise RewardError(f"column {column!r} holds {wrong[0]!r}; it must hold one of {choices!r}")
        pairs = zip(golds, texts_of(completions), strict=True)
        return [float(gold == chosen(text, choices)) for gold, text in pairs]

    return _described(choice, 1.0, column)


def format_reward(pattern: str | None = None) -> RewardFunction:
    """Reward 1 where the whole completion matches a pattern, else 0.

    Args:
        pattern: Regular expression, from a source you trust, because some take exponential time; `.`
            also matches line ends. Default: the completion has a non-empty box that closes.

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
            return [float(bool((last_boxed(text) or "").strip())) for text in texts]
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
        answers = [answer_of(text) or "" for text in texts_of(completions)]
        verdicts = pool.judge(list(zip(entries, answers, strict=True)))
        _log(columns, "gym", verdicts.count(TOO_SLOW), verdicts.count(CRASHED))
        return [0.0 if v in (TOO_SLOW, CRASHED) else v / RIGHT for v in verdicts]

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
    """Texts of completions, each a text or a conversation, of which the last message is used."""
    texts: list[str] = [_text(completion) for completion in completions]
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


def _text(completion: Any) -> Any:
    if isinstance(completion, list) and completion:
        last = cast("list[Any]", completion)[-1]
        if isinstance(last, dict):
            return cast("dict[str, Any]", last).get("content")
    return cast("Any", completion)


def _column(columns: Mapping[str, Sequence[Any]], name: str) -> list[Any]:
    if name not in columns:
        raise RewardError(f"no column {name!r}; the dataset has {', '.join(sorted(columns)) or 'none'}")
    return list(columns[name])


def _texts(columns: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    texts = _column(columns, name)
    check_texts(f"column {name!r}", texts)
    return texts


def _folded(text: str) -> str:
    return " ".join(plain(text).casefold().split())


def chosen(text: str, choices: str = "ABCD") -> str | None:
    """The letter that a completion chooses, see `multiple_choice`, or None."""
    letter = rf"\(?([{choices}])\)?"
    match = re.match(rf"{letter}(?:[\s.:,)]|$)", (answer_of(text) or "").strip("* "))
    if match is None:
        alone = re.findall(rf"(?<![A-Za-z]){letter}(?![A-Za-z'])", after_thinking(text))
        return alone[-1] if alone else None
    return match.group(1)


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
