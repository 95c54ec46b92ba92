"""Frontier sampling: Thompson draws near a low pass rate, and a uniform share for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro import Request, Strategy
from gdro.difficulty.belief import Belief
from gdro.numerics.arrays import IntArray
from gdro.strategy import NoState, Role, require


@dataclass(frozen=True)
class FrontierSampling(Strategy[NoState]):
    """Draw prompts that are hard but not hopeless, and a share of the batch uniformly.

    A pass rate is drawn from every candidate's posterior (Thompson sampling), and the candidates whose
    draw is nearest to `target` fill the batch except for a share `floor`. That share is drawn uniformly
    from the other candidates, so that solved prompts are seen often enough to stay solved. MoPPS selects
    in the same way, near one half and without the uniform share.

    Args:
        target: Pass rate to draw near to, 0 to 1.
        floor: Share of the batch that is drawn uniformly, 0 to 1.
        candidates: Candidates drawn uniformly for each prompt of the batch, which bounds the cost
            where the dataset is larger.

    Raises:
        StrategyError: An option is out of range.

    References:
        Qu et al., 2025, "Can Prompt Difficulty be Online Predicted for Accelerating RL Finetuning of
        Reasoning Models?", arXiv 2507.04632 (MoPPS).

    >>> from gdro import Controller, Problem
    >>> controller = Controller(FrontierSampling(floor=0.5), Problem(["a", "b", "c", "d"]), seed=0)
    >>> len(controller.plan(Request(num_prompts=2, num_rollouts=8)).prompt_P)
    2
    """

    name: ClassVar[str] = "frontier-sampling"
    changes: ClassVar[str] = "which prompts are drawn: hard ones that may be solved, and some of all"
    source: ClassVar[str] = "gdro, docs/log.md"
    cost: ClassVar[str] = "a Beta draw for every candidate, each step"

    target: float = 0.1
    floor: float = 0.1
    candidates: int = 64

    def __post_init__(self) -> None:
        checks = {
            "target": (0 <= self.target <= 1, self.target, "0 to 1"),
            "floor": (0 <= self.floor <= 1, self.floor, "0 to 1"),
            "candidates": (self.candidates >= 1, self.candidates, "1 or more"),
        }
        require(self.name, checks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("select",)

    def select(
        self, state: NoState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """The candidates nearest to the target by one posterior draw each, then uniform ones."""
        num, wanted = belief.num_prompts, request.num_prompts
        pool_C = rng.choice(num, min(num, self.candidates * wanted), replace=False)
        rate_C = rng.beta(*belief.posterior(pool_C))
        # Candidates came in random order, so a stable sort breaks ties at random.
        near_C = pool_C[np.argsort(np.abs(rate_C - self.target), kind="stable")]
        num_near = wanted - round(self.floor * wanted)
        rest_P = rng.choice(near_C[num_near:], wanted - num_near, replace=False)
        return np.concatenate([near_C[:num_near], rest_P])
