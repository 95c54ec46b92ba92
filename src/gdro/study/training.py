"""How every arm of a study is trained, and on how many problems: options of a study's YAML."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import Any

from gdro.errors import StudyError

K = 8  # the k of pass@k


@dataclass
class Training:
    """How every arm of a study is trained.

    Args:
        num_steps: Number of training steps.
        batch: P, prompts per step.
        rollouts: n_bar, mean rollouts per prompt.
        learning_rate: Adam's learning rate after `warmup`.
        minibatches: Optimiser steps per training step, each on a share of the prompts.
        clip_low: The probability ratio is clipped below at `1 - clip_low`.
        clip_high: The probability ratio is clipped above at `1 + clip_high`.
        warmup: Steps over which the learning rate grows linearly.
        prompt_mean: Weight every prompt equally, whatever its rollouts; else every rollout.
        evaluate_every: Steps between points of the learning curve.
        prefix_below: Pass rate below which half of a problem's rollouts continue from a prefix of its
            stored success (`gdro.study.prefixes`); 0: none do.
    """

    num_steps: int = 200
    batch: int = 64
    rollouts: int = 4
    learning_rate: float = 4e-4
    minibatches: int = 4
    clip_low: float = 0.2
    clip_high: float = 0.28
    warmup: int = 10
    prompt_mean: bool = False
    evaluate_every: int = 50
    prefix_below: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch", "rollouts", "minibatches", "warmup", "evaluate_every"):
            if getattr(self, name) < 1:
                raise StudyError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        if self.rollouts < 2:
            raise StudyError(f"training.rollouts is {self.rollouts}; a group needs at least 2")
        if self.minibatches > self.batch:
            raise StudyError(
                f"training.minibatches is {self.minibatches}; allowed: 1 to {self.batch}, the prompts "
                "of a step"
            )
        if not 0.0 <= self.prefix_below <= 1.0:
            raise StudyError(f"training.prefix_below is {self.prefix_below}; allowed: 0 to 1")
        for name, low, high in (("learning_rate", 0, 1), ("clip_low", 0, 1), ("clip_high", 0, inf)):
            if not low < getattr(self, name) < high:
                below = f"below {high}" if high < inf else "finite"
                raise StudyError(
                    f"training.{name} is {getattr(self, name)}; allowed: above {low}, {below}"
                )

    def identity(self) -> dict[str, Any]:
        """Plain data by which runs that were trained so are recognised."""
        given = asdict(self)
        return given if self.prefix_below else {k: v for k, v in given.items() if k != "prefix_below"}


@dataclass
class PoolSizes:
    """Numbers of training and held-out problems, and of samples in the last evaluation."""

    train: int = 1024
    heldout: int = 384
    samples: int = 16

    def __post_init__(self) -> None:
        for name, least, why in (
            ("train", 1, ""),
            ("heldout", 1, ""),
            ("samples", K, f", for pass@{K}"),
        ):
            size = getattr(self, name)
            if size < least:
                raise StudyError(f"sizes.{name} is {size}; it must be at least {least}{why}")
