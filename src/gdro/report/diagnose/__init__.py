"""`gdro diagnose`: what a reward log says, and what each strategy would have done with its budget."""

from gdro.report.diagnose.page import write_diagnosis
from gdro.report.diagnose.rewards import RewardLog, read_rewards

__all__ = ["RewardLog", "read_rewards", "write_diagnosis"]
