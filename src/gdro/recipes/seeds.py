"""A recipe over several seeds: paired effects of its arms, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import write_json
from gdro.evaluation.statistics import paired
from gdro.recipes.processes import is_first
from gdro.recipes.schema import Recipe

SEEDS = "seeds.json"
_TAIL = "hardest (base p < .02)"
_EASY = ("medium (.3 to .9)", "easy (base p >= .9)")


def run_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    output: Path,
    run: Callable[[Recipe, Path], dict[str, Any]],
) -> dict[str, Any]:
    """Run a recipe for every seed in a folder `seed-N`, compare its arms, and write `seeds.json`."""
    summaries = [run(dataclasses.replace(recipe, seed=seed), output / f"seed-{seed}") for seed in seeds]
    comparison = compared(summaries)
    if is_first():
        write_json(output / SEEDS, comparison)
    return comparison


def compared(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Levels of every arm, and effects against the first paired by seed, from one summary per seed."""
    arms = list(summaries[0]["arms"])
    control = arms[0]
    metric = next(name for name in summaries[0]["base"] if name.startswith("pass@"))
    mean = metric.replace("pass", "mean")
    by_arm: dict[str, Any] = {}
    for arm in arms:
        pairs = [(s["arms"][control], s["arms"][arm]) for s in summaries]
        runs = [run for _, run in pairs]
        levels = (metric, mean, "rollouts", "tokens")
        easy = np.array([_easy(b, mean) - _easy(a, mean) for a, b in pairs], np.float64)
        by_arm[arm] = {
            **{name: float(np.mean([run[name] for run in runs])) for name in levels},
            "tail": _level(runs, metric),
            "effect": _relative(pairs, metric),
            "easy": dataclasses.asdict(paired(easy)),
            "curves": [run["curves"] for run in runs],
        }
    seeds = [s["seed"] for s in summaries]
    about = {"recipe": summaries[0]["recipe"], "metric": metric, "control": control}
    return {**about, "seeds": seeds, "arms": by_arm}


def _relative(pairs: Any, metric: str) -> dict[str, Any] | None:
    """Paired relative change; None where the control solved nothing in a seed: it is undefined."""
    if not all(a[metric] for a, _ in pairs):
        return None
    change = np.array([b[metric] / a[metric] - 1.0 for a, b in pairs], np.float64)
    return dataclasses.asdict(paired(change))


def _level(arms: Sequence[dict[str, Any]], metric: str) -> float | None:
    """Mean of the hardest slice over seeds; None where no seed has one."""
    values = [s[metric] for arm in arms for s in arm["slices"] if s["name"] == _TAIL]
    return float(np.mean(values)) if values else None


def _easy(arm: dict[str, Any], mean: str) -> float:
    """Mean@k of prompts of base pass rate from .3 on, in points."""
    slices = [s for s in arm["slices"] if s["name"] in _EASY]
    total = sum(s["num_prompts"] for s in slices)
    return 100.0 * sum(s[mean] * s["num_prompts"] for s in slices) / total if total else 0.0


def table_of(comparison: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the comparison's table."""
    metric = comparison["metric"]
    heads = ["arm", metric, "change", "easy mean, points", f"{metric} of the tail", "tokens"]
    table: list[list[str]] = []
    for name, arm in comparison["arms"].items():
        easy, change = arm["easy"], ["", ""]
        if name != comparison["control"]:
            points = f"{easy['mean']:+.1f} ({easy['low']:+.1f} to {easy['high']:+.1f})"
            change = [_change(arm["effect"]), points]
        tail = "" if arm["tail"] is None else f"{arm['tail']:.3f}"
        ends = [_ends(arm["curves"], curve) for curve in ("entropy", "length")]
        table.append([name, f"{arm[metric]:.3f}", *change, tail, f"{arm['tokens']:,.0f}", *ends])
    return [*heads, "entropy, first to last", "answer, tokens"], table


def _change(effect: dict[str, Any] | None) -> str:
    if effect is None:
        return "undefined: control is 0"
    return f"{effect['mean']:+.1%} ({effect['low']:+.1%} to {effect['high']:+.1%})"


def _ends(curves: Sequence[dict[str, list[float]]], name: str) -> str:
    """Means over the first and the last tenth of training (or logged step, if few are), over seeds."""
    values = [np.array(curve[name]) for curve in curves if curve[name]]
    shares = [np.array_split(value, min(10, len(value))) for value in values]
    if not shares:
        return ""
    first, last = (np.mean([part[i].mean() for part in shares]) for i in (0, -1))
    return f"{first:.2f} to {last:.2f}"
