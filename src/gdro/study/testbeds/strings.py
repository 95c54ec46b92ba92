"""Operations on a word of three letters, written out one after the other: a long hard tail."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from gdro.study.testbed import Item, Testbed, drawn_fact, said

LETTERS, LENGTH, MAX_STEPS = "abcdef", 3, 3
OPERATIONS = {
    "R": lambda w: w[::-1],
    "L": lambda w: w[1:] + w[:1],
    "S": lambda w: "".join(sorted(w)),
    "D": lambda w: w[0] + w[:-1],
    "N": lambda w: "".join(LETTERS[(LETTERS.index(c) + 1) % len(LETTERS)] for c in w),
    "X": lambda w: w[0] + w[2] + w[1],
}
MEAN_ACCURACY = {"R": 0.95, "L": 0.9, "S": 0.75, "D": 0.85, "N": 0.5, "X": 0.65}
CONCENTRATION = 2.0


class Strings(Testbed):
    """`RN..fab`: reverse `fab`, then take each letter's successor; the answer is the word after each."""

    tokens: ClassVar = [*LETTERS, *OPERATIONS, "."]
    prompt_tokens: ClassVar = MAX_STEPS + LENGTH
    answer_tokens: ClassVar = MAX_STEPS * LENGTH
    final_tokens: ClassVar = LENGTH

    def draw(self, rng: np.random.Generator) -> Item:
        """One to three operations in equal shares."""
        steps = int(rng.integers(1, MAX_STEPS + 1))
        chosen = "".join(rng.choice(list(OPERATIONS), steps))
        word = "".join(rng.choice(list(LETTERS), LENGTH))
        answer, current = "", word
        for operation in chosen:
            current = OPERATIONS[operation](current)
            answer += current
        return Item(f"{chosen}{'.' * (MAX_STEPS - steps)}{word}", answer, 33.0 * steps)

    def facts(self, rng: np.random.Generator) -> Any:
        """For each operation, place and first two letters the shift of the letter that is said there."""
        return {
            (o, place, first, second): drawn_fact(0, mean, CONCENTRATION, range(len(LETTERS)), rng)
            for o, mean in MEAN_ACCURACY.items()
            for place in range(LENGTH)
            for first in LETTERS
            for second in LETTERS
        }

    def worked(self, item: Item, facts: Any, rng: np.random.Generator) -> str:
        """A wrong letter is carried on."""
        current, answer = item.prompt[MAX_STEPS:], ""
        for operation in item.prompt[:MAX_STEPS].rstrip("."):
            right = OPERATIONS[operation](current)
            shifts = [
                said(facts[operation, place, current[0], current[1]], rng) for place in range(LENGTH)
            ]
            current = "".join(
                LETTERS[(LETTERS.index(c) + shift) % len(LETTERS)]
                for c, shift in zip(right, shifts, strict=True)
            )
            answer += current
        return answer
