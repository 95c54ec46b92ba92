"""Placebo weights: Prompt-GDRO with the signal as the paper writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.strategies.prompt_gdro import PromptGDRO, Signal


@dataclass(frozen=True)
class PlaceboWeights(PromptGDRO):
    """Prompt-GDRO on the clipped surrogate loss, which is zero on policy: its weights stay near one.

    What remains is what reweighting does without information; every comparison needs it. Options as
    in `PromptGDRO`.
    """

    name: ClassVar[str] = "placebo-weights"
    changes: ClassVar[str] = "the weight of each prompt, hardly (a placebo)"
    source: ClassVar[str] = "arXiv 2601.19280 as written; a placebo, see docs/concepts.md"

    signal: Signal = "surrogate"
