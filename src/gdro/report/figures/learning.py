"""What the policy learned, and held-out evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.common import by_step, colours, keys
from gdro.report.load import Run
from gdro.report.panels import Axes, Figure, Key, Panel, Series, dash, smooth, thinned
from gdro.report.plots import bar_panel, line_panel
from gdro.report.theme import run_colour

_BASE = "var(--base)"


def overview(runs: Sequence[Run]) -> Figure:
    """Rollouts and weight of the hardest and easiest bins over time: the mechanism in one look."""
    panels = [
        _both_ends(runs, "rollouts", "rollouts per prompt"),
        _both_ends(runs, "weight", "weight"),
        by_step(runs, "training pass rate", "pass rate",
                lambda run: smooth(run.metrics["pass_rate"], 15)),
    ]  # fmt: skip
    return Figure(
        "overview", "The curriculum at a glance",
        "Rollouts (left) and weight (middle) move to the hardest prompts (full lines) and away from the "
        "easiest (dotted) at a constant budget; right, what the policy learns meanwhile.",
        panels, "fig. 3 and 7", [Key(run.name, run_colour(i)) for i, run in enumerate(runs)],
    )  # fmt: skip


def extremes(run: Run, key: str) -> tuple[FloatArray, FloatArray]:
    """A value in the hardest and the easiest bin present at each step, each (S,)."""
    value_SB, present_SB = run.bins[key][:, 1:], run.bins["prompts"][:, 1:] > 0
    rows, any_S = np.arange(run.num_steps), present_SB.any(axis=1)
    hard_S = present_SB.argmax(axis=1)
    easy_S = present_SB.shape[1] - 1 - present_SB[:, ::-1].argmax(axis=1)
    hard, easy = value_SB[rows, hard_S], value_SB[rows, easy_S]
    return np.where(any_S, hard, np.nan), np.where(any_S, easy, np.nan)


def _both_ends(runs: Sequence[Run], key: str, unit: str) -> Panel:
    lines: list[Series] = []
    for number, run in enumerate(runs):
        x = np.arange(run.num_steps)
        for end, value_S, pattern in zip(
            ("hardest", "easiest"), extremes(run, key), ([1, 0], [2, 2]), strict=True
        ):
            y = thinned(smooth(value_S, 9))
            name = f"{run.name}, {end} bin"
            lines.append(Series(name, thinned(x), y, run_colour(number), pattern))
    return line_panel(f"{unit}: hardest bin full, easiest dotted", lines, Axes("step", unit))


def curves(runs: Sequence[Run]) -> Figure:
    """Training pass rate on three x-axes."""
    units = (("step", "step"), ("rollouts", "rollouts, thousands"), ("tokens", "tokens, thousands"))
    panels = []
    for unit, title in units:
        lines = []
        for number, run in enumerate(runs):
            if unit == "step":
                x = np.arange(run.num_steps, dtype=float)
            else:
                x = run.ledger.get(unit, np.zeros(run.num_steps)) / 1e3
            if unit == "tokens" and not x[-1]:
                continue  # the trainer does not count them
            y = thinned(smooth(run.metrics["pass_rate"], 15))
            lines.append(Series(run.name, thinned(x), y, run_colour(number), dash(number)))
        if lines:
            panels.append(line_panel(f"against {unit.rstrip('s')}s", lines, Axes(title, "pass rate")))
    return Figure(
        "learning", "Learning curves",
        "Training pass rate, a mean over prompts so that allocation does not bias it, against steps, "
        "rollouts and tokens generated, discarded ones too: compare runs where they cost the same.",
        panels, "", keys(runs),
    )  # fmt: skip


def policy(runs: Sequence[Run]) -> Figure | None:
    """Entropy of the policy and length of its answers, as the trainer logged them."""
    panels = [
        _logged(runs, "entropy", "entropy, nats a token"),
        _logged(runs, "length", "answer, tokens"),
    ]
    drawn = [panel for panel in panels if panel is not None]
    if not drawn:
        return None
    return Figure(
        "policy", "What becomes of the policy",
        "Entropy of the policy (it narrows where this falls to zero) and mean length of its answers, by "
        "step as the trainer logged them: the baseline's lines show what plain training does to both.",
        drawn, "", keys(runs), wide=2,
    )  # fmt: skip


def _logged(runs: Sequence[Run], name: str, unit: str) -> Panel | None:
    """A line a run of what `gdro train` saved beside the evaluation; None where no run has it."""
    lines: list[Series] = []
    for number, run in enumerate(runs):
        curve = (run.evaluation or {}).get("curves", {})
        x, y = curve.get("step", []), curve.get(name, [])
        if y and len(x) == len(y):
            y_T = thinned(smooth(y, max(1, len(y) // 20)))
            lines.append(Series(run.name, thinned(x), y_T, run_colour(number), dash(number)))
    return line_panel(unit.split(",")[0], lines, Axes("step", unit)) if lines else None


def evaluations(runs: Sequence[Run], summary: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Held-out evaluations with slices, by name; the base model first."""
    if summary is not None and "base" in summary:
        found = {"base model": summary["base"], **summary["arms"]}
    else:
        found = {run.name: run.evaluation for run in runs if run.evaluation is not None}
    known = {name: row for name, row in found.items() if row.get("slices") and metric_of(row)}
    metric = next((metric_of(row) for row in known.values()), None)
    return {  # runs of another k are not set beside each other
        name: row for name, row in known.items() if all(metric in part for part in row["slices"])
    }


def metric_of(row: dict[str, Any]) -> str | None:
    """The first pass@k of an evaluation."""
    return next((key for key in row if key.startswith("pass@")), None)


def heldout(runs: Sequence[Run], summary: dict[str, Any] | None) -> Figure | None:
    """Held-out pass@k by slice of base difficulty, with intervals."""
    found = evaluations(runs, summary)
    if not found:
        return None
    metric = metric_of(next(iter(found.values())))
    bars = []
    for name, row in found.items():
        for part in row["slices"]:
            bars.append((part["name"], name, part[metric], part.get(f"ci_{metric}")))
    colour = {"base model": _BASE, **colours(runs)}
    shown = {name: colour.get(name, _BASE) for name in found}
    lines = {"labelExpr": "split(replace(datum.label, ')', ''), ' (')"}
    axes = Axes("", f"held-out {metric}", y_domain=(0, 1), extra=lines)
    panel = bar_panel("with 95% intervals over prompts", bars, axes, shown, 280)
    return Figure(
        "heldout", "Held-out evaluation by difficulty",
        "Held-out prompts, sliced by the base model's pass rate: look for gains on the left that are "
        "not paid for on the right. One seed shows the mechanism, not the effect.",
        [panel], "", [Key(name, colour) for name, colour in shown.items()], wide=1,
    )  # fmt: skip
