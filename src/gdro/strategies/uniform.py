"""Plain GRPO: uniform prompts, equal rollouts, weight one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.strategy import NoState, Strategy


@dataclass(frozen=True)
class Uniform(Strategy[NoState]):
    """Uniform GRPO: the baseline of every comparison.

    References:
        Shao et al., 2024, "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language
        Models", arXiv 2402.03300.

    >>> from gdro import Controller, Problem, Request
    >>> controller = Controller(Uniform(), Problem(["a", "b", "c"]), seed=0)
    >>> controller.plan(Request(num_prompts=2, num_rollouts=8)).rollouts_P.tolist()
    [4, 4]
    """

    name: ClassVar[str] = "uniform"
    changes: ClassVar[str] = "nothing (plain GRPO)"
    source: ClassVar[str] = "arXiv 2402.03300"
