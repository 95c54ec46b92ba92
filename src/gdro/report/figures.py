"""Figures of runs: pure functions from logs to matplotlib figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gdro.report.load import Run
from gdro.types import FloatArray

# Okabe and Ito's palette, safe for colour-blind readers.
COLOURS = ("#6b6b6b", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLE = {"color": "#222222", "fontsize": 10}


@dataclass(frozen=True)
class Drawn:
    """A figure with its name, title and how to read it."""

    name: str
    title: str
    caption: str
    figure: Figure


def smooth(value_S: FloatArray, width: int) -> FloatArray:
    """Centred moving mean that ignores NaN, shape (S,)."""
    kernel = np.ones(max(1, min(width, len(value_S))))
    known = np.isfinite(value_S)
    total = np.convolve(np.where(known, value_S, 0.0), kernel, "same")
    count = np.convolve(known.astype(float), kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def all_figures(runs: Sequence[Run], summary: dict[str, Any] | None) -> list[Drawn]:
    """Every figure that the logs allow, in the order of the page."""
    drawn = [overview(runs)]
    drawn += [
        _heat(runs, "rollouts", "Rollouts per prompt, by bin and step",
              "Bright cells got more rollouts; the budget of every step is the same (paper, fig. 7).",
              lambda run: run.bins["rollouts"], "rollouts per prompt"),
        _heat(runs, "weights", "Weight per bin, by step",
              "Above one (red) a bin pulls harder on the gradient than in GRPO (paper, fig. 3).",
              lambda run: run.bins["weight"], "weight"),
        _heat(runs, "share", "Prompt share per bin, by step",
              "Prompts wander from hard (top) to easy (bottom) as the model learns (paper, fig. 3).",
              lambda run: run.bins["prompts"] / run.bins["prompts"].sum(1, keepdims=True),
              "share of the prompts"),
        learning(runs),
        zero_variance(runs),
    ]  # fmt: skip
    if any("price" in run.metrics for run in runs):
        drawn.append(price(runs))
    if summary is not None:
        drawn.append(heldout(summary))
    return drawn


def overview(runs: Sequence[Run]) -> Drawn:
    """Rollouts and weight of the hardest and easiest bins over time: the mechanism in one look."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for run, colour in zip(runs, _colours(runs), strict=True):
        for axes, key in ((left, "rollouts"), (middle, "weight")):
            hard, easy = extremes(run, key)
            axes.plot(smooth(hard, 9), color=colour, lw=2.2, label=run.name)
            axes.plot(smooth(easy, 9), color=colour, lw=1.4, ls=":")
        curve = run.metrics["pass_rate"]
        right.plot(smooth(curve, 15), color=colour, lw=2.2, label=run.name)
    label(left, "Rollouts per prompt: hardest bin (solid), easiest (dotted)", "step", "rollouts")
    label(middle, "Weight: hardest bin (solid), easiest (dotted)", "step", "weight")
    label(right, "Training pass rate (mean over prompts)", "step", "pass rate")
    left.legend(frameon=False)
    return Drawn(
        "overview", "The curriculum at a glance",
        "Rollouts (left) and weight (middle) move to the hardest prompts, at a constant budget; right, "
        "what the policy learns meanwhile (paper, fig. 3 and 7).", figure,
    )  # fmt: skip


def extremes(run: Run, key: str) -> tuple[FloatArray, FloatArray]:
    """A value in the hardest and the easiest bin present at each step, each (S,)."""
    value_SB, present_SB = run.bins[key][:, 1:], run.bins["prompts"][:, 1:] > 0
    rows, any_S = np.arange(run.num_steps), present_SB.any(axis=1)
    hard_S = present_SB.argmax(axis=1)
    easy_S = present_SB.shape[1] - 1 - present_SB[:, ::-1].argmax(axis=1)
    hard, easy = value_SB[rows, hard_S], value_SB[rows, easy_S]
    return np.where(any_S, hard, np.nan), np.where(any_S, easy, np.nan)


def learning(runs: Sequence[Run]) -> Drawn:
    """Training pass rate on three x-axes."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, unit in zip(panels, ("step", "rollouts", "tokens"), strict=True):
        for run, colour in zip(runs, _colours(runs), strict=True):
            x = np.arange(run.num_steps) if unit == "step" else run.ledger[unit]
            y = run.metrics["pass_rate"]
            axes.plot(x, y, color=colour, lw=0.6, alpha=0.25)
            axes.plot(x, smooth(y, 15), color=colour, lw=2.2, label=run.name)
        label(axes, "", unit, "pass rate" if unit == "step" else "")
    panels[0].legend(frameon=False)
    return Drawn(
        "learning", "Learning curves",
        "Training pass rate, a mean over prompts so that allocation does not bias it, against steps, "
        "rollouts and tokens generated (discarded ones too).", figure,
    )  # fmt: skip


def zero_variance(runs: Sequence[Run]) -> Drawn:
    """Groups without a gradient, split by kind."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, run in zip(panels, runs, strict=True):
        parts = [smooth(run.metrics[k], 9) for k in ("all_wrong", "mixed", "all_right")]
        labels = ("all wrong", "mixed: has a gradient", "all right")
        axes.stackplot(range(run.num_steps), *parts, labels=labels,
                       colors=("#d55e00", "#f0e442", "#009e73"), alpha=0.85)  # fmt: skip
        label(axes, run.name, "step", "share of groups" if axes is panels[0] else "")
    panels[0].legend(frameon=False, loc="lower left")
    return Drawn(
        "zero_variance", "Groups with and without a gradient",
        "Only mixed groups teach; GRPO's waste is the rest.", figure,
    )  # fmt: skip


def price(runs: Sequence[Run]) -> Drawn:
    """Shadow price and demand."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run, colour in zip(runs, _colours(runs), strict=True):
        if "price" in run.metrics:
            left.plot(run.metrics["price"], color=colour, lw=2, label=run.name)
            right.plot(smooth(run.metrics["demand"], 9), color=colour, lw=2)
            right.plot(run.metrics["rollouts_mean"], color="#222222", lw=1, ls="--")
    label(left, "Shadow price", "step", "utility per rollout")
    label(right, "Demand at that price (dashed: the budget)", "step", "rollouts per prompt")
    left.legend(frameon=False)
    return Drawn(
        "price", "Shadow price and demand",
        "The price is what one more rollout is worth; it rises while bins would take more than the "
        "budget and falls while they would take less.", figure,
    )  # fmt: skip


def heldout(summary: dict[str, Any]) -> Drawn:
    """Held-out pass@k by slice of base difficulty."""
    rows = {"base model": summary["base"], **summary["arms"]}
    metric = next(k for k in summary["base"] if k.startswith("pass@"))
    names = [s["name"] for s in summary["base"]["slices"]]
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = ("#c8c8c8", *COLOURS)
    width = 0.8 / len(rows)
    for i, (name, row) in enumerate(rows.items()):
        found = {s["name"]: s for s in row["slices"]}
        at = np.arange(len(names)) + (i - (len(rows) - 1) / 2) * width
        values = [found[n][metric] for n in names]
        low_high = np.array([found[n][f"ci_{metric}"] for n in names]).T
        error = np.abs(low_high - np.array(values))
        axes.bar(at, values, width * 0.92, color=colours[i % len(colours)], label=name,
                 yerr=error, error_kw={"lw": 1, "ecolor": "#444444"})  # fmt: skip
    axes.set_xticks(range(len(names)), names)
    label(axes, "", "", f"held-out {metric}")
    axes.legend(frameon=False, ncols=len(rows), loc="upper left", bbox_to_anchor=(0, 1.12))
    return Drawn(
        "heldout", "Held-out evaluation by difficulty",
        "Prompts are sliced by the base model's pass rate; bars are 95% bootstrap intervals over "
        "prompts. One seed shows the mechanism, not the effect.", figure,
    )  # fmt: skip


def _heat(
    runs: Sequence[Run], name: str, title: str, caption: str,
    values: Callable[[Run], FloatArray], unit: str,
) -> Drawn:  # fmt: skip
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    grids = [values(run) for run in runs]
    top = max(float(np.nanmax(g)) for g in grids)
    image = None
    for axes, run, grid in zip(panels, runs, grids, strict=True):
        image = axes.imshow(
            grid.T, aspect="auto", cmap="viridis", vmin=0, vmax=top, interpolation="nearest",
            extent=(0, run.num_steps, grid.shape[1] - 0.5, -0.5),
        )  # fmt: skip
        label(axes, run.name, "step", "easier     bin     harder" if axes is panels[0] else "")
        axes.set_yticks(range(grid.shape[1]), ["new", *map(str, range(grid.shape[1] - 1))])
        axes.grid(False)
    figure.colorbar(image, ax=list(panels), label=unit)
    return Drawn(name, title, caption, figure)


def _colours(runs: Sequence[Run]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(runs))]


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, axis labels and a light grid."""
    axes.set_title(title, **_STYLE)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
