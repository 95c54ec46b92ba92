"""`correct=`: which rollouts count as right in TRL, read into a judge of rewards."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from gdro.common.hints import did_you_mean
from gdro.errors import OutcomeError, UnsupportedError
from gdro.integrations.trl.columns import NOT_COLUMNS
from gdro.numerics.arrays import BoolArray
from gdro.strategy import Strategy

Rewards = npt.NDArray[np.float32]
"""Thresholds are compared in the precision of rewards, so that 0.1 is not above 0.1."""

Item = str | tuple[str, float] | Callable[..., Any]
Correct = Item | Sequence[Item]
"""`correct=`: see `GDROMixin`."""

TOTAL = "total"
_ALLOWED = (
    "allowed: the name of a reward function, (name, threshold), a list of these (the first that scores "
    "a row judges it), ('total', threshold), or a function that is called as reward functions are and "
    "returns True, False or None for each row"
)


@dataclass(frozen=True)
class Scores:
    """Rewards of R rows by K reward functions.

    Attributes:
        each_RK: Reward of each function, NaN where it gave None, shape (R, K).
        total_R: Weighted sum, NaN where no function gave a reward, shape (R,).
        called_R: Answers of a function in `correct=`: 1, 0 or NaN, shape (R,); None without one.
    """

    each_RK: Rewards
    total_R: Rewards
    called_R: Rewards | None = None


@dataclass(frozen=True)
class Verdicts:
    """Which of R rows are right.

    Attributes:
        correct_R: Whether the row is right, shape (R,).
        judged_R: Whether it is known to be right or wrong, shape (R,).
        value_R: The number that was compared with a threshold, shape (R,).
        sound_R: Whether a check of the work passed, or did not say, shape (R,); None without a check.
    """

    correct_R: BoolArray
    judged_R: BoolArray
    value_R: Rewards
    sound_R: BoolArray | None = None


class Judge:
    """Decides which rows are right; the judges of all ranks see the same rewards in the same order."""

    @property
    def text(self) -> str:
        """The rule in words, for messages like "right is ..."."""
        raise NotImplementedError

    def see(self, scores: Scores) -> None:
        """Learn from rewards of the training; most judges need not."""

    def judge(self, scores: Scores) -> Verdicts:
        """Verdicts on rows."""
        raise NotImplementedError

    def hint(self, middle: float) -> str:
        """The value of `correct=` to suggest if right and wrong may be divided at `middle`."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write what was learned beside a checkpoint; most judges have nothing to write."""

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote."""


@dataclass(frozen=True)
class Named(Judge):
    """Rewards above thresholds; the first function that scores a row judges it.

    Attributes:
        names: Names of the functions.
        columns: Their indices among the trainer's reward functions.
        thresholds: Rewards above them are right.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...]
    thresholds: tuple[float, ...]

    @property
    def text(self) -> str:
        pairs = zip(self.names, self.thresholds, strict=True)
        return "reward " + ", else ".join(f"{name!r} above {least:g}" for name, least in pairs)

    def judge(self, scores: Scores) -> Verdicts:
        num = len(scores.each_RK)
        value_R = np.full(num, np.nan, np.float32)
        correct_R = np.zeros(num, bool)
        for column, least in zip(self.columns, self.thresholds, strict=True):
            reward_R = scores.each_RK[:, column]
            mine_R = np.isnan(value_R) & ~np.isnan(reward_R)
            value_R[mine_R] = reward_R[mine_R]
            correct_R[mine_R] = reward_R[mine_R] > least
        return Verdicts(correct_R, ~np.isnan(value_R), value_R)

    def hint(self, middle: float) -> str:
        if len(self.names) == 1:
            return f"correct=({self.names[0]!r}, {middle:.3g})"
        pairs = zip(self.names, self.thresholds, strict=True)
        return f"correct={list(pairs)} with other thresholds"


@dataclass(frozen=True)
class Total(Judge):
    """The total reward above a threshold."""

    threshold: float

    @property
    def text(self) -> str:
        return f"a total reward above {self.threshold:g}"

    def judge(self, scores: Scores) -> Verdicts:
        known_R = ~np.isnan(scores.total_R)
        return Verdicts(known_R & (scores.total_R > self.threshold), known_R, scores.total_R)

    def hint(self, middle: float) -> str:
        return f"correct=('total', {middle:.3g})"


@dataclass(frozen=True)
class Called(Judge):
    """The answers of a function of the user's."""

    function: Callable[..., Any]

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def text(self) -> str:
        return f"what {self.name}() says"

    def judge(self, scores: Scores) -> Verdicts:
        assert scores.called_R is not None
        known_R = ~np.isnan(scores.called_R)
        return Verdicts(known_R & (scores.called_R > 0), known_R, scores.called_R)

    def hint(self, middle: float) -> str:
        return f"another correct= than {self.name}"

    def ask(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids: Any, **given: Any
    ) -> Rewards:
        """Answers for this rank's rows: 1, 0 or NaN (not known), shape (R,).

        `given` has what the trainer gives beside the rows: its state, and environments if it has any.

        Raises:
            OutcomeError: The function returned something else.
        """
        rows = cast("list[dict[str, Any]]", inputs)
        columns = {key: [row[key] for row in rows] for key in rows[0] if key not in NOT_COLUMNS}
        answer = self.function(
            prompts=prompts,
            completions=completions,
            completion_ids=completion_ids,
            **(columns | given),
        )
        several = isinstance(answer, Iterable) and not isinstance(answer, str | Mapping)
        verdicts = [np.nan if v is None else v for v in answer] if several else []
        wrong = [v for v in verdicts if not (v in (0, 1) or v != v)] if several else [answer]
        if wrong or len(verdicts) != len(rows):
            got = repr(wrong[0]) if wrong else f"{len(verdicts)} verdicts for {len(rows)} rows"
            raise OutcomeError(
                f"correct={self.name} returned {got}; it must return a list of True, False or None (not "
                "known), one for each completion"
            )
        return np.array(verdicts, np.float32)

    def check(self, columns: Sequence[str]) -> None:
        """Refuse a function that cannot be called as reward functions are, before anything is generated.

        Raises:
            UnsupportedError: It lacks `**kwargs`, is built in, or has an argument that no column gives.
        """
        given = ["prompts", "completions", "completion_ids", "trainer_state"]
        given += [name for name in columns if name not in NOT_COLUMNS]
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError) as error:  # not written in Python
            if inspect.isbuiltin(self.function):
                raise UnsupportedError(
                    f"correct={self.name} is a built-in of Python; {_ALLOWED}"
                ) from error
            return
        try:
            signature.bind(**dict.fromkeys(given))
        except TypeError as error:
            raise UnsupportedError(
                f"correct={self.name}{signature} cannot be called as reward functions are ({error}): it "
                f"gets {', '.join(given)} by name; take those that it needs, and **kwargs for the rest"
            ) from error


def check_correct(correct: Any) -> None:
    """Refuse a value that cannot be `correct=`, before a model is loaded.

    Raises:
        UnsupportedError: It has none of the allowed forms.
    """
    if correct is None or isinstance(correct, str):
        return
    if isinstance(correct, type):
        raise UnsupportedError(f"correct is the class {correct.__name__}, not a function; {_ALLOWED}")
    if callable(correct):
        if inspect.iscoroutinefunction(correct):
            raise UnsupportedError(f"correct={correct!r} is asynchronous; {_ALLOWED}")
        return
    items = _items(correct)
    if not items or any(not _is_item(item) for item in items):
        raise UnsupportedError(f"correct is {correct!r}; {_ALLOWED}")


def read_correct(
    correct: Any, names: Sequence[str], functions: Sequence[Any], option: str = "correct"
) -> Judge | None:
    """The judge that `correct=` (see `check_correct`), or another option, asks for; None if it is None.

    Raises:
        UnsupportedError: A name is unknown, or two functions have it.
    """
    if correct is None:
        return None
    if callable(correct) and not _places(correct, functions):
        return Called(cast("Callable[..., Any]", correct))
    pairs = [_pair(item) for item in _items(correct)]
    if len(pairs) == 1 and pairs[0][0] == TOTAL and TOTAL not in names:
        if correct in (TOTAL, [TOTAL], (TOTAL,)):
            raise UnsupportedError(
                "correct='total' needs a threshold: pass correct=('total', THRESHOLD), above which a "
                "total reward is right"
            )
        return Total(pairs[0][1])
    columns = [_column(item, names, functions, option) for item, _ in pairs]
    return Named(
        tuple(names[c] for c in columns), tuple(columns), tuple(threshold for _, threshold in pairs)
    )


def read_process(process: Any, names: Sequence[str], functions: Sequence[Any]) -> Named | None:
    """The check of the work that `process=` names; None if it is None.

    Raises:
        UnsupportedError: It is not a reward function of the trainer, or (function, threshold).
    """
    if process is None:
        return None
    judge = read_correct(process, names, functions, "process") if _is_item(_items(process)[0]) else None
    if not isinstance(judge, Named) or len(judge.names) > 1:
        raise UnsupportedError(
            f"process is {process!r}; allowed: a reward function of the trainer ({', '.join(names)}) by "
            "name, or (name, threshold). It says how much of the work is sound; with a weight of 0 in "
            "reward_weights it is a check alone"
        )
    return judge


def check_process(process: Any, strategy: Strategy[Any]) -> None:
    """Warn of a check of the work that a strategy without a memory never reads.

    Plain GRPO is silent: it is what the other arms of a comparison are compared with.
    """
    reads = strategy.remembers and not strategy.remembers_groups
    if process is not None and strategy.roles and not reads:
        warnings.warn(
            f"process={process!r} changes nothing: strategy {strategy.name!r} has no memory of "
            "successes; take one (strategy='rollout-gdro + memory', which is also the default), or "
            "leave process out",
            stacklevel=4,
        )


def _items(correct: Any) -> list[Any]:
    """The items of `correct=`; a list of a name and a number is one item, for YAML has no tuples."""
    if not isinstance(correct, list | tuple):
        return [correct]
    items = cast("Sequence[Any]", correct)
    return [tuple(items)] if len(items) == 2 and _is_number(items[1]) else list(items)


def _is_item(item: Any) -> bool:
    if isinstance(item, list | tuple):
        pair = cast("Sequence[Any]", item)
        return len(pair) == 2 and (isinstance(pair[0], str) or callable(pair[0])) and _is_number(pair[1])
    return isinstance(item, str) or callable(item)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _pair(item: Any) -> tuple[Any, float]:
    return (item[0], float(item[1])) if isinstance(item, list | tuple) else (item, 0.5)


def _places(item: Any, functions: Sequence[Any]) -> list[int]:
    return [k for k, function in enumerate(functions) if function is item]


def _column(item: Any, names: Sequence[str], functions: Sequence[Any], option: str) -> int:
    known = ", ".join(names)
    if not isinstance(item, str):
        places = _places(item, functions)
        if not places:
            raise UnsupportedError(
                f"{option} holds the function {getattr(item, '__name__', item)!r}, which is no reward "
                f"function of the trainer ({known}); pass a judge of your own alone: {option}=function"
            )
        return places[0]
    places = [k for k, name in enumerate(names) if name == item]
    if not places:
        guess = did_you_mean(item, list(names)) or ";"
        raise UnsupportedError(
            f"{option} names the reward function {item!r}{guess} the trainer has {known}"
        )
    if len(places) > 1:
        raise UnsupportedError(
            f"{option} names the reward function {item!r}, and {len(places)} of the trainer's have that "
            "name; pass the function itself, or give them names of their own (__name__)"
        )
    return places[0]
