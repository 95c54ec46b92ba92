"""Datasets on the Hugging Face hub by short names, and the meaning of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reading = Literal["text", "after ####", "last box", "first", "choices", "listed", "as it is"]


@dataclass(frozen=True)
class Preset:
    """Where a dataset is and what its columns mean.

    Attributes:
        hub: Name of the dataset on the hub.
        config: Configuration of the dataset, None for its only one.
        split: Name of the split.
        problem: Column of the problem's text.
        answer: Column of the answer.
        source: Short name, also the rows' `source`.
        level: Column of a static difficulty, None if there is none.
        reading: How to read the answer's column: its text, of a solution the answer in it; the text
            after `####`; the content of the last box of a solution; the first item of a list; the right
            one of four choices, which are listed below the problem in an order that depends only on its
            text; which one of the listed choices is right; or the text as it is, for reasoning-gym's
            scorers.
        choices: With `listed`, the column that lists the choices, or the columns that hold one each.
    """

    hub: str
    config: str | None
    split: str
    problem: str
    answer: str
    source: str
    level: str | None = None
    reading: Reading = "text"
    choices: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that a row must have."""
        others = OTHER_CHOICES if self.reading == "choices" else ()
        return (self.problem, self.answer, *others, *self.choices)


OTHER_CHOICES = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_OLYMPIAD = "OE_TO_maths_en_COMP"  # open-ended, text only, English, competitions

PRESETS = {
    preset.source: preset
    for preset in (
        Preset("open-r1/DAPO-Math-17k-Processed", "en", "train", "prompt", "solution", "dapo-math-14k"),
        Preset(
            "openai/gsm8k", "main", "train", "question", "answer", "gsm8k", reading="after ####"
        ),
        Preset(
            "DigitalLearningGmbH/MATH-lighteval", None, "train", "problem", "solution", "math",
            "level", "last box",
        ),
        Preset("HuggingFaceH4/MATH-500", None, "test", "problem", "answer", "math-500", "level"),
        Preset("HuggingFaceH4/aime_2024", None, "train", "problem", "answer", "aime-2024"),
        Preset("math-ai/aime25", None, "test", "problem", "answer", "aime-2025"),
        Preset("math-ai/amc23", None, "test", "question", "answer", "amc-23"),
        Preset("math-ai/minervamath", None, "test", "question", "answer", "minerva"),
        Preset(
            "Hothan/OlympiadBench", _OLYMPIAD, "train", "question", "final_answer", "olympiadbench",
            "subfield", "first",
        ),
        Preset(
            "Idavidrein/gpqa", "gpqa_diamond", "train", "Question", "Correct Answer", "gpqa-diamond",
            "High-level domain", "choices",
        ),
    )
}  # fmt: skip  # a table
