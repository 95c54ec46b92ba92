"""`gdro diagnose`: what a reward log says, and what each strategy would have done with its budget."""

from gdro.report.diagnose.conclusion import Conclusion
from gdro.report.diagnose.page import Diagnosis, diagnose, write_diagnosis
from gdro.report.diagnose.read import read_rewards
from gdro.report.diagnose.rewards import RewardLog

__all__ = ["Conclusion", "Diagnosis", "RewardLog", "diagnose", "read_rewards", "write_diagnosis"]
