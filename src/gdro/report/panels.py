"""Panels in the grammar of Vega-Lite: what page and PNG draw from the same specification."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from gdro.report.theme import DASHES

Column = list[Any]
# More points than pixels would only make the page heavy.
MOST_POINTS, MOST_CELLS = 250, 100
# What every object of JavaScript has.
_OF_OBJECTS = re.compile(
    "constructor|to(Locale)?String|valueOf|hasOwnProperty|isPrototypeOf|propertyIsEnumerable|"
    "__proto__|__(define|lookup)[GS]etter__"
)
_LINE_END = re.compile("[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: Its title.
        spec: Vega-Lite without data, title and size; its data are named `table`.
        columns: The data, one list a column.
        heads: What each column is, with its unit, for the table of numbers.
        height: Pixels, axes included.
        legend: Whether the legend belongs in the plot: a scale of colours, not the names of runs.
    """

    title: str
    spec: dict[str, Any]
    columns: dict[str, Column]
    heads: dict[str, str]
    height: int = 230
    legend: bool = False

    def __post_init__(self) -> None:
        """Make every text one that Vega can draw: names of runs may be anything."""
        object.__setattr__(self, "spec", _drawn(self.spec))
        object.__setattr__(self, "columns", _drawn(self.columns))

    @property
    def empty(self) -> bool:
        """Whether a column has no value at all, as in a run whose prompts have no bin yet."""
        used = [self.columns[name] for name in ("x", "y", "value") if name in self.columns]
        return any(all(value is None for value in column) for column in used)


def _drawn(data: Any) -> Any:
    """The data with texts that Vega can draw, which uses names as keys of objects and parses them."""
    if isinstance(data, dict):
        return {key: _drawn(value) for key, value in cast("dict[str, Any]", data).items()}
    if isinstance(data, list | tuple):
        return [_drawn(value) for value in cast("Sequence[Any]", data)]
    if not isinstance(data, str):
        return data
    return f"{data} " if _OF_OBJECTS.fullmatch(data) else _LINE_END.sub(" ", data)


@dataclass(frozen=True)
class Key:
    """An entry of a figure's legend: a name with its colour and dashes."""

    name: str
    colour: str
    dash: Sequence[int] = (1, 0)


@dataclass(frozen=True)
class Figure:
    """A figure: panels side by side, with one sentence that says how to read them.

    Attributes:
        name: Its anchor and file name.
        title: Its title.
        reading: How to read it.
        panels: The plots.
        paper: The figure of the paper that it answers to, e.g. `fig. 3`.
        keys: Its legend.
        wide: Panels in a row where there is room.
    """

    name: str
    title: str
    reading: str
    panels: Sequence[Panel]
    paper: str = ""
    keys: Sequence[Key] = ()
    wide: int = 3


@dataclass(frozen=True)
class Series:
    """A line: its points, name, colour and dashes."""

    name: str
    x: Any
    y: Any
    colour: str
    dash: Sequence[int] = (1, 0)


@dataclass(frozen=True)
class Axes:
    """Titles and bounds of both axes; `labels` are further options of the labels of bars."""

    x: str
    y: str
    x_domain: Sequence[float] | None = None
    y_domain: Sequence[float] | None = None
    format: str = ".3~f"
    y_zero: bool = False
    labels: Mapping[str, Any] = field(default_factory=dict[str, Any])


def rounded(values: Any) -> Column:
    """Numbers of five digits, NaN as None: short in the page."""
    return [None if v is None or not np.isfinite(v) else float(f"{v:.5g}") for v in map(float, values)]


def edges(num_steps: int, most: int) -> np.ndarray:
    """Bounds of at most so many runs of steps, shape (<= most + 1,)."""
    return np.unique(np.linspace(0, num_steps, min(num_steps, most) + 1).round().astype(np.int64))


def thinned(value_S: Any, most: int = MOST_POINTS) -> np.ndarray:
    """Means over runs of steps, NaN left out, along the first axis."""
    value_S = np.asarray(value_S, np.float64)
    bounds = edges(len(value_S), most)[:-1]
    known = np.isfinite(value_S)
    total = np.add.reduceat(np.where(known, value_S, 0.0), bounds, axis=0)
    count = np.add.reduceat(known.astype(np.float64), bounds, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def smooth(value_S: Any, width: int) -> np.ndarray:
    """Centred moving mean that ignores NaN, shape (S,)."""
    value_S = np.asarray(value_S, np.float64)
    kernel = np.ones(max(1, min(width, len(value_S))))
    known = np.isfinite(value_S)
    total = np.convolve(np.where(known, value_S, 0.0), kernel, "same")
    count = np.convolve(known.astype(float), kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def bin_names(num_bins: int) -> list[str]:
    """Names of the unseen prompts and of each bin, hardest first."""
    return ["new", *map(str, range(num_bins))]


def dash(number: int) -> Sequence[int]:
    """Dashes of a run."""
    return DASHES[number % len(DASHES)]
