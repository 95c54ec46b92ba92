"""Additions with carries, lowest digit first, and sorting: few prompts are out of reach."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gdro.study.testbed import Item, Testbed, drawn_fact, said

MEAN_SUM, MEAN_ORDER, CONCENTRATION = 0.5, 0.7, 2.0


class Arithmetic(Testbed):
    """Two tasks: `a31+52` is 13 + 25 with digits reversed, `s4213` is to be sorted."""

    tokens: ClassVar = [*"as+0123456789"]
    prompt_tokens: ClassVar = 10
    answer_tokens: ClassVar = 5

    def draw(self, rng: np.random.Generator) -> Item:
        """Two additions for every sorting."""
        if rng.random() < 2 / 3:
            length = int(rng.integers(1, 5))
            low = 10 ** (length - 1) if length > 1 else 0
            x, y = (int(v) for v in rng.integers(low, 10**length, 2))
            prompt = f"a{str(x)[::-1]}+{str(y)[::-1]}"
            return Item(prompt, str(x + y)[::-1], 20.0 * length)
        length = int(rng.integers(2, 6))
        digits = "".join(str(d) for d in rng.integers(0, 10, length))
        return Item(f"s{digits}", "".join(sorted(digits)), 15.0 * length)

    def facts(self, rng: np.random.Generator) -> Any:
        """The sum that is said for each pair of digits and carry; how often each pair is ordered."""
        facts: dict[Any, Any] = {}
        for x, y, carry in np.ndindex(10, 10, 2):
            mean = min(0.95, MEAN_SUM * (0.75 if carry else 1.15))
            right = x + y + carry
            facts[x, y, carry] = drawn_fact(right, mean, CONCENTRATION, range(20), rng)
        for x, y in np.ndindex(10, 10):
            facts[x, y] = rng.beta(MEAN_ORDER * CONCENTRATION, (1 - MEAN_ORDER) * CONCENTRATION)
        return facts

    def worked(self, item: Item, facts: Any, rng: np.random.Generator) -> str:
        """A wrong sum carries a wrong carry; in sorting the two least digits are swapped."""
        if item.prompt[0] == "a":
            x, y = item.prompt[1:].split("+")
            answer, carry = "", 0
            for i in range(len(x)):
                total = said(facts[int(x[i]), int(y[i]), carry], rng)
                answer, carry = answer + str(total % 10), total // 10
            return answer + "1" * carry
        left, answer = sorted(int(d) for d in item.prompt[1:]), ""
        while left:
            others = sorted(set(left))
            swapped = len(others) > 1 and rng.random() > facts[others[0], others[1]]
            digit = others[1] if swapped else others[0]
            left.remove(digit)
            answer += str(digit)
        return answer
