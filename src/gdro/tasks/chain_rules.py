"""The rules of the chains task: operations, answers, prompts, and its teacher's accuracies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda x, y: (x + y) % 10,
    "-": lambda x, y: (x - y) % 10,
    "*": lambda x, y: (x * y) % 10,
    "a": lambda x, y: (2 * x + 3 * y + 1) % 10,
    "b": lambda x, y: (x * y + x + y) % 10,
    "c": lambda x, y: (x * x + 7 * y) % 10,
}
MAX_LENGTH = 5
MEAN_ACCURACY = {"+": 0.98, "-": 0.97, "*": 0.92, "a": 0.75, "b": 0.45, "c": 0.28}
"""Mean accuracy of the warm start's teacher, by operation."""
CONCENTRATION = 3.0
"""Concentration of the Beta distribution of the facts' accuracies; low, so many are extreme."""


def solve(prompt: str) -> str:
    """The answer to a prompt such as `*3a4...7`: the digit after each operation.

    >>> solve("*3a4...7")
    '15'
    """
    value, answer = int(prompt[-1]), ""
    for operation, digit in steps(prompt):
        value = OPERATIONS[operation](value, digit)
        answer += str(value)
    return answer


def steps(prompt: str) -> list[tuple[str, int]]:
    """The operations of a prompt and their second operands."""
    body = prompt[:-1].rstrip(".")
    return [(body[i], int(body[i + 1])) for i in range(0, len(body), 2)]


def draw_prompt(rng: np.random.Generator, length: int) -> str:
    """A random prompt with `length` operations."""
    operations = rng.choice(list(OPERATIONS), length)
    digits = rng.integers(0, 10, length + 1)
    body = "".join(f"{o}{d}" for o, d in zip(operations, digits[1:], strict=True))
    return f"{body}{'.' * (MAX_LENGTH - length)}{digits[0]}"
