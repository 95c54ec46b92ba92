"""The record of a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["warning", "note", "good"]
ORDER: tuple[Severity, ...] = ("warning", "note", "good")


@dataclass(frozen=True)
class Verdict:
    """A finding.

    Attributes:
        severity: `warning`, `note` or `good`.
        words: What was found, in a sentence that names the run.
        evidence: The numbers behind it, and what to do.
        link: Name of the figure that shows it.
    """

    severity: Severity
    words: str
    evidence: str
    link: str
