"""Verifiable rewards: is the answer right? For TRL and verl; nothing that a model writes is run."""

from gdro.rewards.extract import answer_of
from gdro.rewards.functions import (
    combined,
    exact_match,
    first_line,
    format_reward,
    gym_reward,
    math_reward,
    multiple_choice,
)
from gdro.rewards.verifier import MathVerifier
from gdro.rewards.worker_pool import RewardError

__all__ = [
    "MathVerifier",
    "RewardError",
    "answer_of",
    "combined",
    "exact_match",
    "first_line",
    "format_reward",
    "gym_reward",
    "math_reward",
    "multiple_choice",
]
