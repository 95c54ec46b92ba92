"""What the policy learned, and held-out evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, colours, keys, line_of, plain_keys
from gdro.report.load import LoggedRun
from gdro.report.panels import Axes, Figure, Panel, Series, smooth, thinned
from gdro.report.plots import Bar, bar_panel, line_panel
from gdro.report.theme import run_colour

_BASE = "var(--base)"


def _pass_rate(run: LoggedRun) -> FloatArray:
    return smooth(run.metrics["pass_rate"], 15)


def overview(runs: Sequence[LoggedRun]) -> Figure:
    """Rollouts and weight of the hardest and easiest bins over time: the mechanism in one look."""
    panels = [
        _both_ends(runs, "rollouts", "rollouts per prompt"),
        _both_ends(runs, "weight", "weight"),
        by_step(runs, "training pass rate", "pass rate", _pass_rate),
    ]
    reading = (
        "Rollouts (left) and weight (middle) move to the hardest prompts (full lines) and away from the "
        "easiest (dotted) at a constant budget; right, what the policy learns meanwhile."
    )
    legend = plain_keys(colours(runs))
    return Figure("overview", "The curriculum at a glance", reading, panels, "fig. 3 and 7", legend)


def extremes(run: LoggedRun, key: str) -> tuple[FloatArray, FloatArray]:
    """A value in the hardest and the easiest bin present at each step, each (S,)."""
    value_SB, present_SB = run.bins[key][:, 1:], run.bins["prompts"][:, 1:] > 0
    rows, any_S = np.arange(run.num_steps), present_SB.any(axis=1)
    hard_S = present_SB.argmax(axis=1)
    easy_S = present_SB.shape[1] - 1 - present_SB[:, ::-1].argmax(axis=1)
    hard, easy = value_SB[rows, hard_S], value_SB[rows, easy_S]
    return np.where(any_S, hard, np.nan), np.where(any_S, easy, np.nan)


def _both_ends(runs: Sequence[LoggedRun], key: str, unit: str) -> Panel:
    lines: list[Series] = []
    for number, run in enumerate(runs):
        x, colour = thinned(np.arange(run.num_steps)), run_colour(number)
        hard, easy = (thinned(smooth(value_S, 9)) for value_S in extremes(run, key))
        lines.append(Series(f"{run.name}, hardest bin", x, hard, colour, [1, 0]))
        lines.append(Series(f"{run.name}, easiest bin", x, easy, colour, [2, 2]))
    return line_panel(f"{unit}: hardest bin full, easiest dotted", lines, Axes("step", unit))


def curves(runs: Sequence[LoggedRun]) -> Figure:
    """Training pass rate on three x-axes."""
    panels = [_against(runs, "step", "step", 1.0)]
    panels += [_against(runs, unit, f"{unit}, thousands", 1e3) for unit in ("rollouts", "tokens")]
    drawn = [panel for panel in panels if panel.columns["x"]]
    reading = (
        "Training pass rate, a mean over prompts so that allocation does not bias it, against steps, "
        "rollouts and tokens generated, discarded ones too: compare runs where they cost the same."
    )
    return Figure("learning", "Learning curves", reading, drawn, keys=keys(runs))


def _against(runs: Sequence[LoggedRun], unit: str, title: str, scale: float) -> Panel:
    lines: list[Series] = []
    for number, run in enumerate(runs):
        steps = {"step": np.arange(run.num_steps, dtype=float)}
        x = (steps | run.ledger).get(unit, np.zeros(run.num_steps)) / scale
        if unit != "tokens" or x[-1]:  # some trainers do not count tokens
            lines.append(line_of(number, run, thinned(x), thinned(_pass_rate(run))))
    return line_panel(f"against {unit.rstrip('s')}s", lines, Axes(title, "pass rate"))


def policy(runs: Sequence[LoggedRun]) -> Figure | None:
    """Entropy of the policy and length of its answers, as the trainer logged them."""
    units = {"entropy": "entropy, nats a token", "length": "answer, tokens"}
    panels = [_logged(runs, name, unit) for name, unit in units.items()]
    drawn = [panel for panel in panels if panel is not None]
    if not drawn:
        return None
    reading = (
        "Entropy of the policy (it narrows where this falls to zero) and mean length of its answers, by "
        "step as the trainer logged them: the baseline's lines show what plain training does to both."
    )
    return Figure("policy", "What becomes of the policy", reading, drawn, keys=keys(runs), wide=2)


def _logged(runs: Sequence[LoggedRun], name: str, unit: str) -> Panel | None:
    """One line per run of a curve that `gdro train` wrote to `eval.json`; None where no run has it."""
    lines: list[Series] = []
    for number, run in enumerate(runs):
        curve = (run.evaluation or {}).get("curves", {})
        x, y = curve.get("step", []), curve.get(name, [])
        if y and len(x) == len(y):
            y_T = thinned(smooth(y, max(1, len(y) // 20)))
            lines.append(line_of(number, run, thinned(x), y_T))
    return line_panel(unit.split(",")[0], lines, Axes("step", unit)) if lines else None


def evaluations(runs: Sequence[LoggedRun], summary: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Held-out evaluations with slices, by name; the base model first."""
    if summary is not None and "base" in summary:
        by_name = {"base model": summary["base"], **summary["arms"]}
    else:
        by_name = {run.name: run.evaluation for run in runs if run.evaluation is not None}
    known = {name: row for name, row in by_name.items() if row.get("slices") and metric_of(row)}
    metric = next((metric_of(row) for row in known.values()), None)
    return {  # evaluations with another k are not comparable
        name: row for name, row in known.items() if all(metric in part for part in row["slices"])
    }


def metric_of(row: dict[str, Any]) -> str | None:
    """The first pass@k of an evaluation."""
    return next((key for key in row if key.startswith("pass@")), None)


def heldout(runs: Sequence[LoggedRun], summary: dict[str, Any] | None) -> Figure | None:
    """Held-out pass@k by slice of base difficulty, with intervals."""
    by_name = evaluations(runs, summary)
    if not by_name:
        return None
    metric = metric_of(next(iter(by_name.values())))
    bars: list[Bar] = [
        (part["name"], name, part[metric], part.get(f"ci_{metric}"))
        for name, row in by_name.items()
        for part in row["slices"]
    ]
    shown = {name: {"base model": _BASE, **colours(runs)}.get(name, _BASE) for name in by_name}
    labels = {"labelExpr": "split(replace(datum.label, ')', ''), ' (')"}
    axes = Axes("", f"held-out {metric}", y_domain=(0, 1), labels=labels)
    panel = bar_panel("with 95% intervals over prompts", bars, axes, shown, 280)
    reading = (
        "Held-out prompts, sliced by the base model's pass rate: look for gains on the left that are "
        "not paid for on the right. One seed shows the mechanism, not the effect."
    )
    title, legend = "Held-out evaluation by difficulty", plain_keys(shown)
    return Figure("heldout", title, reading, [panel], keys=legend, wide=1)
