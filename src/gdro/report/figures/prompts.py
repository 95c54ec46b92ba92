"""The dataset's prompts: which were never solved, and whether the beliefs about them came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from gdro.numerics.arrays import IntArray
from gdro.report.figures.common import by_step, keys, line_of
from gdro.report.load import LoggedRun
from gdro.report.numbers import Solved, calibration, solved
from gdro.report.panels import Axes, Figure, Panel, Series
from gdro.report.plots import line_panel
from gdro.report.theme import SOFT


def never_solved(runs: Sequence[LoggedRun]) -> Figure | None:
    """Prompts tried and never solved, and prompts never tried."""
    by_run = {run.name: solved(run) for run in runs if run.visits is not None}
    if not by_run:
        return None
    titles = {
        "never_solved_S": "tried, never solved",
        "solved_S": "solved at least once",
        "never_tried_S": "never tried",
    }
    panels = [
        by_step(runs, title, "prompts", partial(_count, by_run, name), y_zero=True, format=",.0f")
        for name, title in titles.items()
    ]
    reading = (
        "Left, prompts on which every rollout so far has failed: they are the frontier, or beyond "
        "reach; the right panel shows what part of the pool the run has not touched."
    )
    return Figure("never_solved", "Prompts never solved", reading, panels, keys=keys(runs))


def _count(by_run: Mapping[str, Solved], name: str, run: LoggedRun) -> IntArray | None:
    return getattr(by_run[run.name], name) if run.name in by_run else None


def calibrated(runs: Sequence[LoggedRun]) -> Figure | None:
    """Predicted against observed pass rate, with the rank correlation of each run in the title.

    A second panel has the first visits of runs whose unseen prompts were predicted.
    """
    foretold = [run if run.header.get("difficulty", {}).get("predictor") else None for run in runs]
    panels = [
        _calibrated(runs, "Spearman", False),
        _calibrated(foretold, "First visits: Spearman", True),
    ]
    if panels[0] is None:
        return None
    reading = (
        "On the dashed line a prompt is answered as often as the tracker expected; above it the model "
        "has learned faster than the belief, below it the belief was too hopeful."
    )
    if panels[1] is not None:
        reading += " Before a first visit, the pass rate is predicted from the columns of the predictor."
    title = "Did the beliefs come true?"
    shown = [panel for panel in panels if panel is not None]
    return Figure("calibration", title, reading, shown, keys=keys(runs), wide=len(shown))


def _calibrated(runs: Sequence[LoggedRun | None], title: str, first: bool) -> Panel | None:
    """Predicted against observed pass rates of the given runs, None places left out."""
    lines, correlations = [Series("as predicted", [0, 1], [0, 1], SOFT, [4, 4])], []
    for number, run in enumerate(runs):
        result = None if run is None or run.visits is None else calibration(run.visits, first)
        if run is not None and result is not None:
            lines.append(line_of(number, run, result.predicted, result.observed))
            correlations.append(f"{run.name} {result.spearman:.2f}")
    if not correlations:
        return None
    axes = Axes("pass rate expected before the visit", "pass rate observed", (0, 1), (0, 1))
    return line_panel(f"{title} {', '.join(correlations)}", lines, axes, 300)
