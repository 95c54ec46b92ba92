"""The pool: prompts never solved, and whether beliefs came true."""

from __future__ import annotations

from collections.abc import Sequence

from gdro.report.figures.common import by_step, keys
from gdro.report.load import Run
from gdro.report.numbers import Solved, calibration, solved
from gdro.report.panels import Axes, Figure, Panel, Series, dash
from gdro.report.plots import line_panel
from gdro.report.theme import SOFT, run_colour


def never_solved(runs: Sequence[Run]) -> Figure | None:
    """Prompts tried and never solved, and prompts never tried."""
    made: dict[str, Solved] = {run.name: solved(run) for run in runs if run.visits is not None}
    if not made:
        return None

    def panel(title: str, part: str) -> Panel:
        return by_step(
            runs, title, "prompts",
            lambda run: getattr(made[run.name], part) if run.name in made else None,
            y_zero=True, format=",.0f",
        )  # fmt: skip

    panels = [
        panel("tried, never solved", "never_solved_S"),
        panel("solved at least once", "solved_S"),
        panel("never tried", "never_tried_S"),
    ]
    return Figure(
        "never_solved", "Prompts never solved",
        "Left, prompts on which every rollout so far has failed: they are the frontier, or beyond "
        "reach; the right panel shows what part of the pool the run has not touched.",
        panels, "", keys(runs),
    )  # fmt: skip


def calibration_series(runs: Sequence[Run]) -> tuple[list[Series], list[str]]:
    """A reliability curve a run, and its rank correlation in words."""
    lines, said = [], []
    for number, run in enumerate(runs):
        found = None if run.visits is None else calibration(run.visits)
        if found is not None:
            colour = run_colour(number)
            lines.append(Series(run.name, found.predicted, found.observed, colour, dash(number)))
            said.append(f"{run.name} {found.spearman:.2f}")
    return lines, said


def calibrated(runs: Sequence[Run]) -> Figure | None:
    """Predicted against observed pass rate."""
    lines, said = calibration_series(runs)
    if not lines:
        return None
    equal = Series("as predicted", [0, 1], [0, 1], SOFT, [4, 4])
    axes = Axes("pass rate expected before the visit", "pass rate observed", (0, 1), (0, 1))
    panel = line_panel(f"Spearman {', '.join(said)}", [equal, *lines], axes, 300)
    return Figure(
        "calibration", "Did the beliefs come true?",
        "On the dashed line a prompt is answered as often as the tracker expected; above it the model "
        "has learned faster than the belief, below it the belief was too hopeful.",
        [panel], "", keys(runs), wide=1,
    )  # fmt: skip
