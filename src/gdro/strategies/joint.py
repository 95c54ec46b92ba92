"""Joint: select by one strategy, allocate by another, weigh by a third."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gdro.difficulty import Belief
from gdro.errors import StrategyError
from gdro.groups import Groups
from gdro.registry import make_strategy
from gdro.strategy import Draft, Strategy
from gdro.types import FloatArray, IntArray, Request, Weights

Part = Strategy[Any] | str | Mapping[str, Any]
_ROLES = ("select", "allocate", "weigh")


@dataclass(frozen=True)
class JointState:
    """The state of each part."""

    select: Any
    allocate: Any
    weigh: Any


@dataclass(frozen=True)
class Joint(Strategy[JointState]):
    """Compose parts; every part observes every outcome. Both adversaries together by default.

    Args:
        selector: Chooses prompts: a strategy, a name, or {"name": ..., options}.
        allocator: Decides rollouts, likewise.
        weigher: Weights advantages, likewise.

    Raises:
        StrategyError: A part is unknown, or `weigher` is one that acts by resampling.

    >>> Joint(weigher={"name": "prompt-gdro", "eta": 2.0}).weigher.eta
    2.0
    """

    name: ClassVar[str] = "joint"
    changes: ClassVar[str] = "weights and rollouts together"
    source: ClassVar[str] = "open question of arXiv 2601.19280"

    selector: Part = "uniform"
    allocator: Part = "rollout-gdro"
    weigher: Part = "prompt-gdro"

    def __post_init__(self) -> None:
        for field in ("selector", "allocator", "weigher"):
            object.__setattr__(self, field, _made(getattr(self, field), field))
        weigher = self._part("weigh")
        if weigher.selects and weigher != self._part("select"):
            raise StrategyError(
                f"joint: weigher {weigher.name!r} acts by choosing prompts, which the selector "
                f"{self._part('select').name!r} does here; pass the same strategy as selector, or "
                "make the weigher reweight"
            )

    @property
    def selects(self) -> bool:
        """Whether the selector chooses prompts."""
        return self._part("select").selects

    @property
    def needs_loss(self) -> bool:
        """Whether any part needs the loss after the update."""
        return any(self._part(role).needs_loss for role in _ROLES)

    def init(self, num_prompts: int, num_bins: int) -> JointState:
        """The initial state of each part."""
        return JointState(*(self._part(role).init(num_prompts, num_bins) for role in _ROLES))

    def select(
        self, state: JointState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        """As the selector."""
        return self._part("select").select(state.select, belief, request, rng)

    def importance(self, state: JointState, belief: Belief, bin_P: IntArray) -> FloatArray:
        """As the selector."""
        return self._part("select").importance(state.select, belief, bin_P)

    def allocate(
        self, state: JointState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        """As the allocator."""
        return self._part("allocate").allocate(state.allocate, belief, draft, rng)

    def weigh(self, state: JointState, belief: Belief, groups: Groups) -> Weights:
        """As the weigher."""
        return self._part("weigh").weigh(state.weigh, belief, groups)

    def update(self, state: JointState, belief: Belief, groups: Groups) -> JointState:
        """Every part observes the outcome."""
        return JointState(*(self._part(r).update(getattr(state, r), belief, groups) for r in _ROLES))

    def metrics(self, state: JointState) -> dict[str, float]:
        """The parts' metrics."""
        return {k: v for r in _ROLES for k, v in self._part(r).metrics(getattr(state, r)).items()}

    def by_bin(self, state: JointState) -> dict[str, FloatArray]:
        """The parts' values by bin."""
        return {k: v for r in _ROLES for k, v in self._part(r).by_bin(getattr(state, r)).items()}

    def _part(self, role: str) -> Strategy[Any]:
        part = {"select": self.selector, "allocate": self.allocator, "weigh": self.weigher}[role]
        assert isinstance(part, Strategy)
        return part


def _made(part: Part, field: str) -> Strategy[Any]:
    if isinstance(part, Strategy):
        return part
    options: dict[str, Any] = {"name": part} if isinstance(part, str) else dict(part)
    if "name" not in options:
        raise StrategyError(f"joint: {field} is {part!r}; a mapping needs a 'name' and options")
    return make_strategy(options.pop("name"), **options)
