"""Chains of operations modulo ten: the quickstart's task, heavy-tailed by construction."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np

from gdro.study.testbed import Item, Testbed, drawn_fact, said
from gdro.tasks.chain_rules import MAX_LENGTH, OPERATIONS, draw_prompt, solve, steps

# Lower than the quickstart's: a fourth of the prompts and more are to be out of reach at first.
MEAN = {"+": 0.9, "-": 0.85, "*": 0.7, "a": 0.4, "b": 0.25, "c": 0.15}
CONCENTRATION = 2.0


class Chains(Testbed):
    """One to five operations on digits; the answer is the digit after each."""

    tokens: ClassVar = [*".0123456789", *(f"{o}{d}" for o in OPERATIONS for d in range(10))]
    prompt_tokens: ClassVar = MAX_LENGTH + 1
    answer_tokens: ClassVar = MAX_LENGTH

    def split(self, text: str) -> list[str]:
        """An operation and its operand are one token."""
        return re.findall(r"[+\-*abc][0-9]|.", text)

    def draw(self, rng: np.random.Generator) -> Item:
        """Lengths in equal shares."""
        length = int(rng.integers(1, MAX_LENGTH + 1))
        prompt = draw_prompt(rng, length)
        return Item(prompt, solve(prompt), 100.0 * (length - 1) / (MAX_LENGTH - 1))

    def facts(self, rng: np.random.Generator) -> Any:
        """For each operation and pair of digits what is said."""
        return {
            (o, x, y): drawn_fact(OPERATIONS[o](x, y), mean, CONCENTRATION, range(10), rng)
            for o, mean in MEAN.items()
            for x, y in np.ndindex(10, 10)
        }

    def worked(self, item: Item, facts: Any, rng: np.random.Generator) -> str:
        """A wrong digit is carried on."""
        value, answer = int(item.prompt[-1]), ""
        for operation, digit in steps(item.prompt):
            value = said(facts[operation, value, digit], rng)
            answer += str(value)
        return answer
