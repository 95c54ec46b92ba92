"""POPO: recent groups with a gradient take the places of groups without one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from gdro.checkpoint.codec import derived, within
from gdro.difficulty.belief import Belief
from gdro.groups import Groups
from gdro.numerics.arrays import IntArray
from gdro.numerics.persistent import PersistentArray
from gdro.strategies.memory import latest_plans
from gdro.strategy import Role, Strategy, require
from gdro.types import Recall, Weights


@dataclass(frozen=True)
class RecentGroups:
    """When groups with a gradient were stored.

    Attributes:
        at_N: Number of the closed plan with each prompt's latest such group (-1: none), shape (N,).
        recent: Prompts with such a group in each of the last `max_age` plans; follows from the others.
        steps: Plans closed so far.
    """

    at_N: PersistentArray = field(metadata=within(-1))
    recent: tuple[IntArray, ...] = field(metadata=derived())
    steps: int = field(default=0, metadata=within(0))


@dataclass(frozen=True)
class Popo(Strategy[RecentGroups]):
    """Replace groups whose rewards agree by the latest groups whose rewards differ, whole.

    The buffer holds groups with a gradient, the latest of each prompt; the most recent come first, those
    of one plan in random order, until the rows without a gradient are replaced. A group comes back with
    the advantages of its own step, and with the decoupled objective: per token
    w min(r A, clip(r) A) with r = pi / pi_now the ordinary ratio against the policy at the start of the
    step, and w = pi_now / pi_then, at most 2, the correction for the policy that generated the group.
    The loss has as many rows as without. Beliefs learn from fresh rollouts only.

    Args:
        max_age: Plans after which a group is no longer used, 1 or more. The paper's buffer is small, and
            groups that are ten steps old harm there; its size was not available to us.

    Raises:
        StrategyError: An option is out of range.

    References:
        Mao et al., 2026, "RLVR without Ineffective Samples: Group Prioritized Off-Policy Optimization
        for LLM Reasoning", arXiv 2606.01281, its abstract and summaries of it.

    >>> Popo(max_age=2).roles
    ('remember',)
    """

    name: ClassVar[str] = "popo"
    changes: ClassVar[str] = "rows without gradient make room for recent groups that have one"
    source: ClassVar[str] = "arXiv 2606.01281"
    cost: ClassVar[str] = (
        "a forward pass over the rows with a gradient, and one over those that come back"
    )

    max_age: int = 4

    def __post_init__(self) -> None:
        require(self.name, {"max_age": (self.max_age >= 1, self.max_age, "1 or more")})

    @property
    def roles(self) -> tuple[Role, ...]:
        return ("remember",)

    @property
    def remembers_groups(self) -> bool:
        return True

    @property
    def keeps_for(self) -> int:
        return self.max_age

    def init(self, num_prompts: int, num_bins: int) -> RecentGroups:
        return RecentGroups(PersistentArray(np.full(num_prompts, -1)), ())

    def weigh(
        self, state: RecentGroups, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        """Remember the groups with a gradient; recall as many as rows without one could hold."""
        plain = groups.expand(np.ones(len(groups.received_P)))
        moving_R = groups.has_gradient_P[groups.position_R] & plain.keep_R
        most = int(np.count_nonzero(~moving_R)) // 2  # a group with a gradient has two rows or more
        recall: list[Recall] = []
        for at in range(state.steps - 1, state.steps - 1 - len(state.recent), -1):
            if len(recall) >= most:
                break
            stored = state.recent[at - state.steps]
            latest = stored[state.at_N[stored] == at]
            recall += [Recall(prompt, "group") for prompt in rng.permutation(latest).tolist()]
        return replace(
            plain,
            remember_R=moving_R,
            recall=tuple(recall[:most]),
            remember="group",
            correction="decoupled",
        )

    def update(self, state: RecentGroups, belief: Belief, groups: Groups) -> RecentGroups:
        moving = np.sort(groups.plan.prompt_P[groups.has_gradient_P])
        recent = (*state.recent, moving)[-self.max_age :]
        return RecentGroups(state.at_N.put(moving, state.steps), recent, state.steps + 1)

    def restored(self, state: RecentGroups) -> RecentGroups:
        recent = latest_plans(state.at_N.array, state.steps, self.max_age)
        return replace(state, recent=recent)

    def metrics(self, state: RecentGroups) -> dict[str, float]:
        """Number of groups that may come back."""
        first = state.steps - len(state.recent)
        return {
            "popo_groups": float(
                sum(
                    np.count_nonzero(state.at_N[stored] == first + i)
                    for i, stored in enumerate(state.recent)
                )
            )
        }
