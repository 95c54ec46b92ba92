"""Joint: select, allocate, extend and weigh by a strategy each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from gdro.difficulty.belief import Belief
from gdro.errors import StrategyError
from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.strategies.prompt_gdro import PromptGDRO
from gdro.strategies.rollout_gdro import RolloutGDRO
from gdro.strategies.uniform import Uniform
from gdro.strategy import ROLES, Bounds, Draft, More, Role, Strategy, check_roles
from gdro.types import Request, Weights

_FIELDS = {
    "select": "selector",
    "allocate": "allocator",
    "weigh": "weigher",
    "extend": "extender",
    "remember": "rememberer",
}


@dataclass(frozen=True)
class JointState:
    """The state of each part."""

    select: Any
    allocate: Any
    weigh: Any
    extend: Any
    remember: Any


@dataclass(frozen=True)
class Joint(Strategy[JointState]):
    """Compose strategies, one for each role; by default both adversaries. All observe every outcome.

    `make_strategy("joint", ...)` also takes parts by name or as {"name": ..., options}, and under the
    names of their roles; a composition such as "mopps + rollout-gdro" is a joint of its terms.

    Args:
        selector: Strategy that chooses prompts (`select`).
        allocator: Strategy that decides the rollouts of each prompt (`allocate`).
        weigher: Strategy that weights advantages (`weigh`).
        extender: Strategy that asks for further rollouts and decides which rows are kept (`extend`).
        rememberer: Strategy that remembers rollouts and recalls them (`remember`).

    Raises:
        StrategyError: A part is not a strategy, or parts clash.

    References:
        Panaganti et al., 2026, "Group Distributionally Robust Optimization-Driven Reinforcement Learning
        for LLM Reasoning", arXiv 2601.19280, which leaves both adversaries together as an open question.

    >>> Joint(weigher=PromptGDRO(eta=2.0)).weigher.eta
    2.0
    """

    name: ClassVar[str] = "joint"
    changes: ClassVar[str] = "weights and rollouts together, or any parts you name"
    source: ClassVar[str] = "open question of arXiv 2601.19280"
    aliases: ClassVar[Mapping[str, str]] = _FIELDS

    selector: Strategy[Any] = field(default_factory=Uniform)
    allocator: Strategy[Any] = field(default_factory=RolloutGDRO)
    weigher: Strategy[Any] = field(default_factory=PromptGDRO)
    extender: Strategy[Any] = field(default_factory=Uniform)
    rememberer: Strategy[Any] = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        for name in _FIELDS.values():
            if not isinstance(part := getattr(self, name), Strategy):
                raise StrategyError(
                    f"joint: {name} is {part!r}; pass a strategy, or make_strategy('joint', {name}=...)"
                )
        parts = {role: self._part(role) for role in _FIELDS}
        for part in parts.values():
            check_roles(part)
        weigher, selector, extender = parts["weigh"], parts["select"], parts["extend"]
        if weigher.selects and weigher != selector:
            raise StrategyError(
                f"joint: weigher {weigher.name!r} acts by choosing prompts, but the selector is "
                f"{selector.name!r}; pass the same strategy as selector, or a weigher that reweights"
            )
        if weigher.extends and weigher != extender:
            raise StrategyError(
                f"joint: weigher {weigher.name!r} acts by asking for more rollouts, but the extender is "
                f"{extender.name!r}; pass the weigher as extender"
            )
        if weigher.remembers and weigher != parts["remember"]:
            raise StrategyError(f"joint: weigher {weigher.name!r} is a memory; pass it as rememberer")
        allocator = parts["allocate"]
        if extender.needs_even and "allocate" in allocator.roles:
            raise StrategyError(
                f"joint: {extender.name!r} needs groups of equal size, but the allocator is "
                f"{allocator.name!r}, so rollouts would be generated and dropped; drop one of them "
                "(allocator='uniform'), or extend with 'dapo', which keeps what was allocated"
            )
        needs_loss = next((p for p in parts.values() if p.needs_loss), None)
        drops = next((p for p in parts.values() if p.extends), None)
        if drops is not None and needs_loss is not None:
            raise StrategyError(
                f"joint: {needs_loss.name!r} needs the loss of every row, but rows that {drops.name!r} "
                "drops have none; use signal='failure'"
            )

    @property
    def roles(self) -> tuple[Role, ...]:
        return tuple(role for role in ROLES if role in self._part(role).roles)

    @property
    def bounds(self) -> Bounds | None:
        return self._part("allocate").bounds

    @property
    def needs_even(self) -> bool:
        return self._part("extend").needs_even

    @property
    def splits_groups(self) -> bool:
        return self._part("extend").splits_groups

    @property
    def unscaled(self) -> bool:
        return self._part("weigh").unscaled

    @property
    def needs_loss(self) -> bool:
        return any(self._part(role).needs_loss for role in _FIELDS)

    @property
    def remembers_groups(self) -> bool:
        return self._part("remember").remembers_groups

    @property
    def keeps_for(self) -> int:
        return self._part("remember").keeps_for

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c for role in _FIELDS for c in self._part(role).columns))

    def init(self, num_prompts: int, num_bins: int) -> JointState:
        return JointState(*(self._part(role).init(num_prompts, num_bins) for role in _FIELDS))

    def select(
        self, state: JointState, belief: Belief, request: Request, rng: np.random.Generator
    ) -> IntArray:
        return self._part("select").select(state.select, belief, request, rng)

    def importance(self, state: JointState, belief: Belief, bin_P: IntArray) -> FloatArray:
        return self._part("select").importance(state.select, belief, bin_P)

    def mass(self, state: JointState, belief: Belief) -> FloatArray:
        return self._part("select").mass(state.select, belief)

    def allocate(
        self, state: JointState, belief: Belief, draft: Draft, rng: np.random.Generator
    ) -> IntArray:
        return self._part("allocate").allocate(state.allocate, belief, draft, rng)

    def extend(
        self, state: JointState, belief: Belief, groups: Groups, round: int, rng: np.random.Generator
    ) -> More | None:
        return self._part("extend").extend(state.extend, belief, groups, round, rng)

    def weigh(
        self, state: JointState, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        """Weigh the rows that the extender keeps, and add what the rememberer recalls."""
        weights = self._weighed(state, belief, groups, rng)
        memory = self._part("remember")
        if not memory.remembers:
            return weights
        recalled = memory.weigh(state.remember, belief, groups, rng)
        return replace(
            weights,
            weight_R=weights.weight_R * recalled.weight_R,
            remember_R=recalled.remember_R,
            recall=recalled.recall,
            most_anchors=recalled.most_anchors,
            anchor_pick=recalled.anchor_pick,
            remember=recalled.remember,
            correction=recalled.correction,
        )

    def _weighed(
        self, state: JointState, belief: Belief, groups: Groups, rng: np.random.Generator
    ) -> Weights:
        extender = self._part("extend")
        if not extender.extends:
            return self._part("weigh").weigh(state.weigh, belief, groups, rng)
        extended = extender.weigh(state.extend, belief, groups, rng)
        if self._part("weigh").extends:
            return extended
        weights = self._part("weigh").weigh(state.weigh, belief, _without(groups, extended), rng)
        return Weights(weights.weight_R, weights.keep_R & extended.keep_R, extended.baseline)

    def update(self, state: JointState, belief: Belief, groups: Groups) -> JointState:
        return JointState(*(self._part(r).update(getattr(state, r), belief, groups) for r in _FIELDS))

    def restored(self, state: JointState) -> JointState:
        return JointState(*(self._part(role).restored(getattr(state, role)) for role in _FIELDS))

    def metrics(self, state: JointState) -> dict[str, float]:
        return {k: v for r in _FIELDS for k, v in self._part(r).metrics(getattr(state, r)).items()}

    def by_bin(self, state: JointState) -> dict[str, FloatArray]:
        return {k: v for r in _FIELDS for k, v in self._part(r).by_bin(getattr(state, r)).items()}

    def _part(self, role: str) -> Strategy[Any]:
        return getattr(self, _FIELDS[role])


def _without(groups: Groups, weights: Weights) -> Groups:
    """The groups, those with no kept row marked as unscored."""
    kept_P = np.bincount(groups.position_R, weights.keep_R, len(groups.received_P)) > 0
    if bool((kept_P | ~groups.rewarded_P).all()):
        return groups
    valid_R = groups.outcome.valid_mask_R & kept_P[groups.position_R]
    return replace(groups, outcome=replace(groups.outcome, valid_R=valid_R))
