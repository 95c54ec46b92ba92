"""A check during training of the condition of `gdro-tail`: that a success is not a lucky answer."""

from __future__ import annotations

import warnings

from gdro.types import Plan, Weights

MOST_REPLAYS = 0.06
"""Share of groups with a replay above which successes are suspected to be luck.

In results/grading.runs.jsonl.gz the share under `gdro-tail` is at most .035 where it gains (whole work
graded, or guesses hardly ever right) and at least .093 where guesses are right once in ten and it loses.
"""
LEAST_GROUPS = 1000


class LuckWatch:
    """Warns once if prompts with a remembered success often fail again.

    A skill that was rewarded and trained on mostly succeeds at the next visit, a lucky answer does not.

    Args:
        condition: Condition of the strategy in words; empty: it has none and nothing is watched.

    >>> LuckWatch("").watches, LuckWatch("only where the whole work is checked").watches
    (False, True)
    """

    def __init__(self, condition: str) -> None:
        self._condition = condition
        self._groups = self._replays = 0

    @property
    def watches(self) -> bool:
        """Whether there is anything left to warn of."""
        return bool(self._condition)

    def see(self, plan: Plan, weights: Weights) -> None:
        """Count the groups of a step and those that failed although a success is remembered."""
        if not self.watches:
            return
        self._groups += len(plan.prompt_P)
        self._replays += sum(recall.kind == "replay" for recall in weights.recall)
        share = self._replays / max(1, self._groups)
        if self._groups < LEAST_GROUPS or share <= MOST_REPLAYS:
            return
        condition, self._condition = self._condition, ""
        warnings.warn(
            f"{share:.0%} of {self._groups:,} groups failed on a prompt that was solved before (at most "
            f"{MOST_REPLAYS:.0%} is usual where successes are skill). Lucky answers, or noisy verdicts, "
            f"are probably being learned, and this strategy makes that worse: use it {condition}. "
            "Use strategy='gdro' instead; a check of the work (process=) keeps lucky answers out of the "
            "memory",
            stacklevel=3,
        )
