"""The tasks that studies train on, and the teachers of their warm starts."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gdro.errors import StudyError

PAD, END = 0, 1  # token ids
POOL_COLUMNS = ("difficulty", "level")
"""Columns of every pool: the static level of its problems, under two names."""
WRONG_SHARES = (0.6, 0.25, 0.15)  # how the mistakes of a fact fall on three wrong answers


@dataclass(frozen=True)
class Item:
    """A problem.

    Attributes:
        prompt: Text of the problem, unique within the task.
        answer: The right answer.
        level: Static difficulty; larger is harder.
    """

    prompt: str
    answer: str
    level: float


class Testbed(ABC):
    """A task on short texts with right or wrong answers, and the mistakes its warm start learns.

    A warm start is trained on worked answers in which each elementary fact (one digit operation, one
    comparison) is right at its own rate, drawn once from a Beta distribution; mistakes carry over to
    the next step. So the model's success rate differs widely between prompts, as a language model's
    does. Derive from this class and name the class in a study's YAML as `module:Class`.
    """

    __test__: ClassVar[bool] = False  # keeps pytest from collecting it
    tokens: ClassVar[Sequence[str]]
    """The vocabulary, without padding and end."""
    prompt_tokens: ClassVar[int]
    """Longest prompt, in tokens."""
    answer_tokens: ClassVar[int]
    """Longest answer, in tokens, without the end."""

    final_tokens: ClassVar[int] = 1
    """Tokens at the end of an answer that are its final answer, for `grade: final`."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Item:
        """A random problem."""

    @abstractmethod
    def facts(self, rng: np.random.Generator) -> object:
        """How often the warm start's teacher is right, drawn once for a warm start."""

    @abstractmethod
    def worked(self, item: Item, facts: object, rng: np.random.Generator) -> str:
        """The teacher's answer to a problem, mistakes included."""

    def split(self, text: str) -> list[str]:
        """Tokens of a text; characters unless overridden."""
        return list(text)

    def problems(self, rng: np.random.Generator, num: int) -> list[Item]:
        """`num` distinct problems; a StudyError if the task has too few."""
        items: dict[str, Item] = {}
        misses = 0
        while misses < 500:  # so many repeats in a row mean that hardly any problem is left
            if len(items) == num:
                return list(items.values())
            item = self.draw(rng)
            misses = misses + 1 if item.prompt in items else 0
            items.setdefault(item.prompt, item)
        raise StudyError(
            f"{type(self).__name__} has only {len(items)} distinct problems, but {num} are needed; "
            "lower sizes.train or sizes.heldout"
        )

    def encode(self, texts: Sequence[str], width: int, left: bool) -> npt.NDArray[np.int64]:
        """Token ids padded to a width, shape (len(texts), width).

        Prompts are padded on the `left`; answers get an end token and are padded on the right.
        """
        number = {token: i for i, token in enumerate(self.tokens, start=2)}
        ids = np.full((len(texts), width), PAD, np.int64)
        for row, text in enumerate(texts):
            try:
                codes = [number[token] for token in self.split(text)]
            except KeyError as problem:
                raise StudyError(f"{text!r} has the token {problem}, which is not in `tokens`") from None
            codes += [] if left else [END]
            if len(codes) > width:
                raise StudyError(f"{text!r} takes {len(codes)} tokens; there is room for {width}")
            ids[row, width - len(codes) if left else 0 :][: len(codes)] = codes
        return ids


def drawn_fact(
    right: int, mean: float, concentration: float, values: Iterable[int], rng: np.random.Generator
) -> tuple[list[int], list[float]]:
    """A teacher's answers to a fact: four values, the right one first, and their probabilities."""
    rate = rng.beta(mean * concentration, (1.0 - mean) * concentration)
    wrong = [value for value in values if value != right]
    others = [int(value) for value in rng.choice(wrong, 3, replace=False)]
    return [right, *others], [rate, *((1.0 - rate) * share for share in WRONG_SHARES)]


def said(fact: tuple[list[int], list[float]], rng: np.random.Generator) -> int:
    """Sample one of a fact's four values."""
    values, shares = fact
    return values[min(3, int(np.searchsorted(np.cumsum(shares), rng.random())))]


def levels_of(items: Iterable[Item], shares: list[float]) -> list[float]:
    """Levels of a task's problems, the easiest first; a StudyError if `shares` are not as many."""
    levels = sorted({item.level for item in items})
    if len(levels) != len(shares):
        raise StudyError(
            f"variant.sources has {len(shares)} shares, but this task has {len(levels)} levels; give "
            "one share for each level, the easiest first"
        )
    return levels


def load_testbed(task: str) -> Testbed:
    """An instance of the testbed of a shipped name (`chains`, ...) or of a `module:Class`."""
    shipped = {
        "chains": "gdro.study.testbeds.chains:Chains",
        "arithmetic": "gdro.study.testbeds.arithmetic:Arithmetic",
        "strings": "gdro.study.testbeds.strings:Strings",
    }
    module, _, name = shipped.get(task, task).partition(":")
    if not name:
        raise StudyError(f"no testbed {task!r}; shipped: {', '.join(shipped)}; or pass module:Class")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as problem:
        raise StudyError(
            f"testbed {task!r} cannot be imported ({problem}); shipped: {', '.join(shipped)}; or pass "
            "module:Class"
        ) from problem
    if not (isinstance(kind, type) and issubclass(kind, Testbed)):
        raise StudyError(f"testbed {task!r} is not a class that derives from gdro.study.Testbed")
    return kind()
