"""DARO: a learnable weight for each pass rate, balancing their losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.strategies.baselines.sec import absolute_advantage
from gdro.strategy import Role, Strategy, require
from gdro.types import Weights


@dataclass(frozen=True)
class GroupWeights:
    """Weight of each class of pass rates, shape (G,)."""

    weight_G: FloatArray


@dataclass(frozen=True)
class Daro(Strategy[GroupWeights]):
    """Weigh prompts by w_m, where m is the class of their pass rate in this step.

    The objective sum_m (w_m L_m - ln w_m) has its minimum in w at w_m = 1 / L_m, where all classes
    contribute alike; each training step takes one gradient step w <- w - rate (L_m - 1 / w). L_m is
    the mean |advantage| of the class: on policy the surrogate itself has the value zero, and its
    gradient scales with |advantage|. Groups without a gradient or a verdict have weight one.

    Args:
        classes: G, the number of classes of equal width on (0, 1).
        rate: Learning rate of the weights, 0 to 1.
        least: Smallest weight, above 0.
        cap: Largest weight.

    Raises:
        StrategyError: An option is out of range.

    References:
        Zhou et al., 2025, "DARO: Difficulty-Aware Reweighting Policy Optimization", arXiv 2510.09001.

    >>> Daro(classes=3).init(num_prompts=4, num_bins=10).weight_G.tolist()
    [1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "daro"
    changes: ClassVar[str] = "the weight of each prompt, by its pass rate in the step"
    source: ClassVar[str] = "arXiv 2510.09001"

    classes: int = 8
    rate: float = 0.1
    least: float = 0.1
    cap: float = 8.0

    def __post_init__(self) -> None:
        checks = {
            "classes": (self.classes >= 1, self.classes, "1 or more"),
            "rate": (0 <= self.rate <= 1, self.rate, "0 to 1"),
            "least": (0 < self.least <= 1, self.least, "above 0, at most 1"),
            "cap": (1 <= self.cap < np.inf, self.cap, "1 or more, finite"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("weigh",)

    def init(self, num_prompts: int, num_bins: int) -> GroupWeights:
        return GroupWeights(np.ones(self.classes))

    def weigh(
        self, state: GroupWeights, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        counted_P = groups.has_gradient_P & groups.scored_P
        return groups.expand(np.where(counted_P, state.weight_G[self._class(groups)], 1.0))

    def update(self, state: GroupWeights, belief: Belief, groups: Groups) -> GroupWeights:
        """One gradient step on the classes that were present."""
        counted_P = groups.has_gradient_P & groups.scored_P
        class_P = self._class(groups)[counted_P]
        count_G = np.bincount(class_P, minlength=self.classes)
        size_G = np.bincount(class_P, absolute_advantage(groups)[counted_P], self.classes)
        loss_G = size_G / np.maximum(count_G, 1)
        stepped_G = state.weight_G - self.rate * (loss_G - 1.0 / state.weight_G)
        clipped_G = np.clip(stepped_G, self.least, self.cap)
        return GroupWeights(np.where(count_G > 0, clipped_G, state.weight_G))

    def metrics(self, state: GroupWeights) -> dict[str, float]:
        return {
            "daro_least": float(state.weight_G.min()),
            "daro_largest": float(state.weight_G.max()),
        }

    def _class(self, groups: Groups) -> IntArray:
        rate_P = groups.successes_P / np.maximum(groups.trials_P, 1)
        return np.minimum((rate_P * self.classes).astype(np.int64), self.classes - 1)
