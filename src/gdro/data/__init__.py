"""Math datasets in one schema: `gdro.data.load("gsm8k")`."""

from gdro.data.alike import Overlap, normalised, overlap
from gdro.data.load import Report, load, load_with_report
from gdro.data.presets import PRESETS, Preset
from gdro.data.prompts import prompts
from gdro.data.rows import DataError
from gdro.data.statistics import statistics

__all__ = [
    "PRESETS",
    "DataError",
    "Overlap",
    "Preset",
    "Report",
    "load",
    "load_with_report",
    "normalised",
    "overlap",
    "prompts",
    "statistics",
]
