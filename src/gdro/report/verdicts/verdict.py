"""A verdict on a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["warning", "note", "good"]
ORDER: tuple[Severity, ...] = ("warning", "note", "good")


@dataclass(frozen=True)
class Verdict:
    """A verdict.

    Attributes:
        severity: `warning`, `note` or `good`.
        words: The verdict in a sentence that names the run.
        evidence: The numbers behind it, and what to do.
        link: Name of the figure that shows it.
    """

    severity: Severity
    words: str
    evidence: str
    link: str
