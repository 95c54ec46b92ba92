"""Baseline: the joint arm choice by dynamic programming over dictionaries.

The straightforward way to write it: a dictionary from reachable totals to the best value and the
chosen arms, one bin after the other. Fair to it: choices are kept as back-pointers, not copied lists,
and totals that can no longer be completed are pruned.
"""

from __future__ import annotations


def choose_arms(values: list[list[float]], counts: list[int], total: int, n_min: int) -> list[int]:
    """One arm a bin, maximising sum count * value with sum count * n equal to total.

    Args:
        values: Value of each arm (n_min, n_min + 1, ...) for each bin.
        counts: Prompts of each bin.
        total: Rollouts to spend.
        n_min: First arm.

    Returns:
        Rollouts a prompt, by bin; an empty list if the total cannot be met.
    """
    num_arms = len(values[0])
    tables: list[dict[int, tuple[float, int]]] = []
    best: dict[int, float] = {0: 0.0}
    for b, count in enumerate(counts):
        least = n_min * sum(counts[b + 1 :])
        reached: dict[int, tuple[float, int]] = {}
        for spent, value in best.items():
            for arm in range(num_arms):
                after = spent + count * (n_min + arm)
                if after + least > total:
                    break
                score = value + count * values[b][arm]
                if after not in reached or score > reached[after][0]:
                    reached[after] = (score, arm)
        tables.append(reached)
        best = {spent: score for spent, (score, _) in reached.items()}
    if total not in best:
        return []
    chosen, left = [0] * len(counts), total
    for b in range(len(counts) - 1, -1, -1):
        arm = tables[b][left][1]
        chosen[b] = n_min + arm
        left -= counts[b] * chosen[b]
    return chosen
