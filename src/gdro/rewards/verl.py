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
        `score`, `acc` for `+gdro.correct=acc`, and `reward_timeouts` and `reward_crashes`: comparisons
        that were too slow or ended their process, which the adapter adds up over a step.
    """
    judged = shared_verifier().judge([ground_truth], [solution_str])
    right = float(judged.right[0])
    counts = {"reward_timeouts": float(judged.timeouts), "reward_crashes": float(judged.crashes)}
    return {"score": right, "acc": right, **counts}
