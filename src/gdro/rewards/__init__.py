"""Verifiable rewards for TRL and verl; no text of a model is ever executed."""

from gdro.rewards.equations import equations_hold
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
    "equations_hold",
    "exact_match",
    "first_line",
    "format_reward",
    "gym_reward",
    "math_reward",
    "multiple_choice",
]
