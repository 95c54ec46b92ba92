"""What figures of several runs share: a line a run, the same colour everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gdro.report.load import Run
from gdro.report.panels import Axes, Key, Panel, Series, dash, edges, thinned
from gdro.report.plots import line_panel
from gdro.report.theme import run_colour

Values = Callable[[Run], Any]


def keys(runs: Sequence[Run]) -> list[Key]:
    """A legend entry a run."""
    return [Key(run.name, run_colour(i), dash(i)) for i, run in enumerate(runs)]


def colours(runs: Sequence[Run]) -> dict[str, str]:
    """Colour of each run by name."""
    return {key.name: key.colour for key in keys(runs)}


def steps_of(num_steps: int, most: int = 250) -> np.ndarray:
    """First step of each run of steps that `thinned` averages."""
    return edges(num_steps, most)[:-1]


def by_step(
    runs: Sequence[Run], title: str, y: str, values: Values, *, log: bool = False, **axes: Any
) -> Panel:
    """A line a run over the steps; runs without the values are left out."""
    series: list[Series] = []
    for number, run in enumerate(runs):
        value_S = values(run)
        if value_S is not None and np.isfinite(value_S).any():
            x = steps_of(run.num_steps)
            series.append(Series(run.name, x, thinned(value_S), run_colour(number), dash(number)))
    return line_panel(title, series, Axes("step", y, log=log, **axes))


def top(runs: Sequence[Run], values: Values, least: float = 0.0) -> float:
    """Largest finite value over the runs, so that all panels share their axes."""
    found = [np.nanmax(v) for v in map(values, runs) if v is not None and np.isfinite(v).any()]
    return max([least, *map(float, found)])


def wide(runs: Sequence[Run]) -> int:
    """Panels in a row where each run has one: no row holds a single left-over."""
    return {1: 1, 2: 2, 4: 2}.get(len(runs), 3)
