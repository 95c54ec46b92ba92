"""Your own strategy: a frozen dataclass whose methods are pure. It can be combined with those of gdro.

Run it: `python examples/custom_strategy.py`. To find it by name, add one line to your package's
`[project.entry-points."gdro.strategies"]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro import (
    Controller,
    Groups,
    Outcome,
    PersistentArray,
    Problem,
    Request,
    Strategy,
    Weights,
    make_strategy,
)


@dataclass(frozen=True)
class Seen:
    """State. Arrays with one row per prompt end in `_N`, so that checkpoints match rows to prompts.

    A persistent array changes a few rows without a copy of all; a numpy array is allowed too.
    """

    streak_N: PersistentArray


@dataclass(frozen=True)
class Streaks(Strategy[Seen]):
    """Raise the weight of a prompt with the number of failed visits in a row.

    Args:
        gain: Amount added to the weight for each failed visit in a row.
        most: Largest weight, before weights are scaled to a mean of one.
    """

    name: ClassVar[str] = "streaks"
    changes: ClassVar[str] = "the weight of each prompt"
    source: ClassVar[str] = "this example"

    gain: float = 0.5
    most: float = 3.0

    @property
    def roles(self):
        return ("weigh",)

    def init(self, num_prompts, num_bins):
        return Seen(PersistentArray(np.zeros(num_prompts)))

    def weigh(self, state, belief, groups: Groups, rng) -> Weights:
        weight_P = np.minimum(1.0 + self.gain * state.streak_N[groups.plan.prompt_P], self.most)
        return groups.expand(weight_P / weight_P.mean())

    def update(self, state, belief, groups: Groups) -> Seen:
        scored = groups.plan.prompt_P[groups.scored_P]
        failed = groups.successes_P[groups.scored_P] == 0
        streak = np.where(failed, state.streak_N[scored] + 1, 0)
        return Seen(state.streak_N.put(scored, streak))


def main() -> None:
    strategy = make_strategy([Streaks(gain=1.0), "rollout-gdro"])
    controller = Controller(strategy, Problem([f"p{i}" for i in range(50)]), seed=0)
    rate_N = np.linspace(0.0, 1.0, 50)
    rng = np.random.default_rng(0)
    rates, factors = [], []
    for _ in range(40):
        plan = controller.plan(Request(num_prompts=16, num_rollouts=64))
        right_R = rng.random(64) < rate_N[plan.prompt_R]
        outcome = Outcome(plan.ticket, plan.prompt_R, right_R * 1.0, right_R)
        rates.append(rate_N[plan.prompt_R])
        factors.append(controller.weigh(outcome).weight_R)
        controller.observe(outcome)
    hard, factor = np.concatenate(rates) < 0.2, np.concatenate(factors)
    print(f"mean weight of hard prompts {factor[hard].mean():.2f}, others {factor[~hard].mean():.2f}")


if __name__ == "__main__":
    main()
