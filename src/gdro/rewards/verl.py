"""The math reward for verl: `reward.custom_reward_function.path=pkg://gdro.rewards.verl`."""

from __future__ import annotations

from typing import Any

from gdro.rewards.functions import shared_verifier


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **options: Any
) -> dict[str, float]:
    """1 where math-verify takes the answer for the gold one, else 0.

    Args:
        data_source: Not used: all sources are mathematics.
        solution_str: What the model wrote.
        ground_truth: The right answer.
        extra_info: Not used.
        **options: Not used; verl passes what its configuration names.

    Returns:
        `score`, and `acc` for `+gdro.correct=acc`.
    """
    right = float(shared_verifier().score([ground_truth], [solution_str])[0])
    return {"score": right, "acc": right}
