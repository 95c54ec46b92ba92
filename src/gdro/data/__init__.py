"""Public math sets in one schema: `gdro.data.load("dapo-math-14k")`."""

from gdro.data.load import DataError, load
from gdro.data.presets import PRESETS, Preset

__all__ = ["PRESETS", "DataError", "Preset", "load"]
