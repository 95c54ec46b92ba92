"""Sets on the Hugging Face hub by short names, and which of their columns means what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Where a set is and what its columns are called.

    Attributes:
        hub: Name on the hub.
        config: Configuration of the set, None for its only one.
        split: Split.
        problem: Column of the problem's text.
        answer: Column of the answer.
        source: What the rows are called.
        level: Column of a difficulty, if there is one.
    """

    hub: str
    config: str | None
    split: str
    problem: str
    answer: str
    source: str
    level: str | None = None


PRESETS = {
    "dapo-math-14k": Preset(
        "open-r1/DAPO-Math-17k-Processed", "en", "train", "prompt", "solution", "dapo-math-14k"
    ),
    "math-500": Preset("HuggingFaceH4/MATH-500", None, "test", "problem", "answer", "math-500", "level"),
}
