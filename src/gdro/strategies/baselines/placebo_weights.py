"""Placebo weights: Prompt-GDRO with the signal as the paper writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.groups import Groups
from gdro.numerics.arrays import FloatArray
from gdro.strategies.adversary import AdversaryState
from gdro.strategies.prompt_gdro import PromptGDRO, Signal


@dataclass(frozen=True)
class PlaceboWeights(PromptGDRO):
    """Prompt-GDRO on the clipped surrogate loss, which is zero on policy: its weights stay near one.

    A placebo that shows what reweighting does without information. Where a trainer gives no losses,
    their on-policy value of zero is used. Options are those of `PromptGDRO`.

    References:
        Panaganti et al., 2026, "Group Distributionally Robust Optimization-Driven Reinforcement Learning
        for LLM Reasoning", arXiv 2601.19280, with the signal as written there.

    >>> PlaceboWeights().signal
    'surrogate'
    """

    name: ClassVar[str] = "placebo-weights"
    changes: ClassVar[str] = "the weight of each prompt, hardly (a placebo)"
    source: ClassVar[str] = "arXiv 2601.19280 as written; a placebo, see docs/concepts.md"

    signal: Signal = "surrogate"

    def _signal(self, groups: Groups) -> FloatArray:
        if self.signal == "surrogate" and groups.loss_P is None:
            return np.zeros(len(groups.plan.prompt_P))
        return super()._signal(groups)

    def _warn_asleep(self, state: AdversaryState) -> None:
        """A placebo is meant to do nothing, so there is nothing to warn of."""
