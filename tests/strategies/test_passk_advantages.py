"""Pass@k advantages on cases worked out by hand, and by enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from by_hand import made, outcome
from gdro import Request


def enumerated(right: int, num: int, k: int) -> list[float]:
    """Advantages from every subset of k rollouts: a subset's reward is 1 if any of it is right.

    A rollout's advantage is the mean over its subsets of (reward - mean) / deviation over all subsets.
    """
    subsets = list(combinations(range(num), k))
    reward = np.array([float(any(i < right for i in s)) for s in subsets])
    scaled = (reward - reward.mean()) / reward.std()
    return [
        float(np.mean([v for v, s in zip(scaled, subsets, strict=True) if i in s])) for i in range(num)
    ]


@pytest.mark.parametrize(("num", "k"), [(4, 2), (6, 2), (6, 3), (7, 4)])
def test_passk_advantages_are_those_of_all_subsets(num: int, k: int) -> None:
    rights = [s for s in range(1, num) if num - s >= k]
    c = made("passk-advantages", num=len(rights), k=k)
    plan = c.plan(Request(len(rights), num * len(rights), np.arange(len(rights))))
    scored = outcome(plan, dict(enumerate(rights)))
    weights = c.weigh(scored)
    for i, s in enumerate(rights):
        plain = (np.arange(num) < s) * 1.0
        plain = (plain - plain.mean()) / plain.std()
        found = plain * weights.weight_R[scored.prompt_R == i]
        assert found == pytest.approx(enumerated(s, num, k), abs=1e-9)


def test_passk_advantages_at_the_edges() -> None:
    """Fewer than k wrong: the least weight; k = 1: GRPO; no gradient: one; few rollouts: one subset."""
    c = made("passk-advantages", num=4, k=2)
    plan = c.plan(Request(4, 16, np.arange(4)))
    weights = c.weigh(scored := outcome(plan, {0: 3, 1: 0, 2: 4, 3: 1}))
    by_prompt = [weights.weight_R[scored.prompt_R == i][0] for i in range(4)]
    assert by_prompt == pytest.approx([0.01, 1.0, 1.0, np.sqrt(1 / 3)])
    plain = made("passk-advantages", num=4, k=1)
    plan = plain.plan(Request(4, 16, np.arange(4)))
    assert plain.weigh(outcome(plan, {0: 3, 1: 0, 2: 4, 3: 1})).weight_R == pytest.approx(np.ones(16))
    small = made("passk-advantages", num=2, k=9, least=0.2)
    plan = small.plan(Request(2, 4, np.arange(2)))
    assert small.weigh(outcome(plan, {0: 1, 1: 1})).weight_R == pytest.approx(np.full(4, 0.2))
