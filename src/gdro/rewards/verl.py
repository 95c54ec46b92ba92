"""The math reward for verl: `reward.custom_reward_function.path=pkg://gdro.rewards.verl`."""

from __future__ import annotations

from typing import Any

from gdro.rewards.functions import shared_verifier


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **options: Any
) -> dict[str, float]:
    """Score 1 where math-verify accepts the completion's answer as equal to the right one, else 0.

    Args:
        data_source: Ignored; all sources are graded as mathematics.
        solution_str: Completion of the model.
        ground_truth: The right answer.
        extra_info: Ignored.
        **options: Ignored; verl passes `custom_reward_function.reward_kwargs`.

    Returns:
        `score`, and `acc` for `+gdro.correct=acc`.
    """
    right = float(shared_verifier().score([ground_truth], [solution_str])[0])
    return {"score": right, "acc": right}
