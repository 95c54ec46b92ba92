"""Plain GRPO: uniform prompts, equal rollouts, weight one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.strategy import NoState, Strategy


@dataclass(frozen=True)
class Uniform(Strategy[NoState]):
    """Uniform GRPO (Shao et al. 2024, arXiv 2402.03300), the baseline of every comparison."""

    name: ClassVar[str] = "uniform"
    changes: ClassVar[str] = "nothing (plain GRPO)"
    source: ClassVar[str] = "arXiv 2402.03300"
