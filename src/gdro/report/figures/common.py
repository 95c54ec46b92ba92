"""What figures of several runs share: one line per run, and a run's colour is the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gdro.report.load import LoggedRun
from gdro.report.panels import Axes, Key, Panel, Series, dash, edges, thinned
from gdro.report.plots import line_panel
from gdro.report.theme import run_colour

Values = Callable[[LoggedRun], Any]


def keys(runs: Sequence[LoggedRun]) -> list[Key]:
    """A legend entry per run."""
    return [Key(run.name, run_colour(i), dash(i)) for i, run in enumerate(runs)]


def plain_keys(colours: Mapping[str, str]) -> list[Key]:
    """A legend entry with a full line per name."""
    return [Key(name, colour) for name, colour in colours.items()]


def colours(runs: Sequence[LoggedRun]) -> dict[str, str]:
    """Colour of each run by name."""
    return {key.name: key.colour for key in keys(runs)}


def steps_of(num_steps: int, most: int = 250) -> np.ndarray:
    """First step of each interval that `thinned` averages over."""
    return edges(num_steps, most)[:-1]


def line_of(number: int, run: LoggedRun, x: Any, y: Any) -> Series:
    """A line in the colour and dashes of a run."""
    return Series(run.name, x, y, run_colour(number), dash(number))


def by_step(runs: Sequence[LoggedRun], title: str, y: str, values: Values, **axes: Any) -> Panel:
    """One line per run over the steps; runs without the values are left out."""
    series: list[Series] = []
    for number, run in enumerate(runs):
        value_S = values(run)
        if value_S is not None and np.isfinite(value_S).any():
            series.append(line_of(number, run, steps_of(run.num_steps), thinned(value_S)))
    return line_panel(title, series, Axes("step", y, **axes))


def top(runs: Sequence[LoggedRun], values: Values, least: float = 0.0) -> float:
    """Largest finite value over the runs, so that all panels share their axes."""
    by_run = [value for value in map(values, runs) if value is not None and np.isfinite(value).any()]
    return max([least, *(float(np.nanmax(value)) for value in by_run)])


def wide(runs: Sequence[LoggedRun]) -> int:
    """Panels in a row where each run has one, such that no row holds a single one."""
    return {1: 1, 2: 2, 4: 2}.get(len(runs), 3)
