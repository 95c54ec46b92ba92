"""gdro: RL post-training that spends its rollouts where learning happens."""

from gdro.controller import Controller
from gdro.difficulty.belief import Belief
from gdro.difficulty.tracker import Difficulty
from gdro.errors import (
    BudgetError,
    CheckpointError,
    DivergenceError,
    GdroError,
    LogError,
    OutcomeError,
    ProblemError,
    RequestError,
    StrategyError,
    TicketError,
)
from gdro.groups import Groups
from gdro.log.run_log import RunLog
from gdro.numerics.persistent import PersistentArray
from gdro.problem import Problem
from gdro.strategies.default import default_strategy
from gdro.strategies.registry import list_strategies, make_strategy
from gdro.strategy import Draft, More, Strategy
from gdro.types import UNSEEN, Allocation, Extension, Outcome, Plan, Recall, Request, Weights

__version__ = "0.1.0"

__all__ = [
    "UNSEEN",
    "Allocation",
    "Belief",
    "BudgetError",
    "CheckpointError",
    "Controller",
    "Difficulty",
    "DivergenceError",
    "Draft",
    "Extension",
    "GdroError",
    "Groups",
    "LogError",
    "More",
    "Outcome",
    "OutcomeError",
    "PersistentArray",
    "Plan",
    "Problem",
    "ProblemError",
    "Recall",
    "Request",
    "RequestError",
    "RunLog",
    "Strategy",
    "StrategyError",
    "TicketError",
    "Weights",
    "default_strategy",
    "list_strategies",
    "make_strategy",
]
