"""What a study trains on: a task, its warm start, and how the pool is spoilt."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gdro.errors import StudyError
from gdro.study.decoder import END, PAD

WRONG_SHARES = (0.6, 0.25, 0.15)  # how the mistakes of a fact fall on three wrong answers


@dataclass(frozen=True)
class Item:
    """A problem.

    Attributes:
        prompt: Its text, distinct among problems.
        answer: The right answer.
        level: A static difficulty, larger is harder.
    """

    prompt: str
    answer: str
    level: float


class Testbed(ABC):
    """A task on short texts, right or wrong, and the mistakes that its warm start is taught with.

    A warm start is trained on worked answers in which each elementary fact (one digit operation, one
    comparison) is right with a rate of its own, drawn once from a Beta distribution; a mistake is
    carried on. So the model is right at very different rates on different prompts, as a language
    model is. Derive from this class and name the class in a study's YAML as `module:Class`.
    """

    __test__: ClassVar[bool] = False  # not a test class, whatever its name
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
        """Distinct problems.

        Raises:
            StudyError: The task has too few.
        """
        found: dict[str, Item] = {}
        misses = 0
        while misses < 500:  # in a row: then next to nothing is left to find
            if len(found) == num:
                return list(found.values())
            item = self.draw(rng)
            misses = misses + 1 if item.prompt in found else 0
            found.setdefault(item.prompt, item)
        raise StudyError(f"{type(self).__name__} gave only {len(found)} distinct problems of {num}")

    def encode(self, texts: Sequence[str], width: int, left: bool) -> npt.NDArray[np.int64]:
        """Token ids padded to a width, shape (len(texts), width); answers (`left` false) have an end.

        Raises:
            StudyError: A text is too long, or has a token that the vocabulary lacks.
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
    """What a teacher says for a fact: four values, the right one first, and their probabilities."""
    rate = rng.beta(mean * concentration, (1.0 - mean) * concentration)
    wrong = [value for value in values if value != right]
    others = [int(value) for value in rng.choice(wrong, 3, replace=False)]
    return [right, *others], [rate, *((1.0 - rate) * share for share in WRONG_SHARES)]


def said(fact: tuple[list[int], list[float]], rng: np.random.Generator) -> int:
    """One saying of a fact."""
    values, shares = fact
    return values[min(3, int(np.searchsorted(np.cumsum(shares), rng.random())))]


def load_testbed(task: str) -> Testbed:
    """Find a testbed.

    Args:
        task: A shipped name (`chains`, `arithmetic`, `strings`), or `module:Class`.

    Returns:
        An instance.

    Raises:
        StudyError: There is none of that name.
    """
    shipped = {
        "chains": "gdro.study.testbeds.chains:Chains",
        "arithmetic": "gdro.study.testbeds.arithmetic:Arithmetic",
        "strings": "gdro.study.testbeds.strings:Strings",
    }
    module, _, name = shipped.get(task, task).partition(":")
    if not name:
        raise StudyError(f"no testbed {task!r}; shipped: {', '.join(shipped)}; or pass module:Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as problem:
        raise StudyError(
            f"testbed {task!r} cannot be imported ({problem}); shipped: {', '.join(shipped)}; or pass "
            "module:Class"
        ) from problem
    if not (isinstance(found, type) and issubclass(found, Testbed)):
        raise StudyError(f"testbed {task!r} is not a class that derives from gdro.study.Testbed")
    return found()
