"""A recipe over several seeds: paired effects of its arms, with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import write_json
from gdro.evaluation.statistics import paired
from gdro.recipes.schema import Recipe

SEEDS = "seeds.json"
_TAIL = "hardest (base p < .02)"
_EASY = ("medium (.3 to .9)", "easy (base p >= .9)")

Run = Callable[[Recipe, Path], dict[str, Any]]


def run_seeds(recipe: Recipe, seeds: Sequence[int], output: Path, run: Run) -> dict[str, Any]:
    """Run a recipe for every seed, and compare its arms with the first.

    Args:
        recipe: The job; its own seed is not used.
        seeds: Seeds, each of a folder `seed-N`.
        output: Folder of all.
        run: From a recipe and a folder to the summary of one seed.

    Returns:
        The comparison, also written to `seeds.json`.
    """
    summaries = [run(dataclasses.replace(recipe, seed=seed), output / f"seed-{seed}") for seed in seeds]
    found = compared(summaries)
    write_json(output / SEEDS, found)
    return found


def compared(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Effects of every arm against the first, paired by seed.

    Args:
        summaries: One a seed, as in `summary.json`.

    Returns:
        Plain data: `seeds`, `control`, and by arm its levels and effects.
    """
    arms = list(summaries[0]["arms"])
    control = arms[0]
    metric = next(name for name in summaries[0]["base"] if name.startswith("pass@"))
    mean = metric.replace("pass", "mean")
    found: dict[str, Any] = {}
    for arm in arms:
        rows = [(s["arms"][control], s["arms"][arm]) for s in summaries]
        level = {name: float(np.mean([b[name] for _, b in rows])) for name in (metric, mean)}
        spent = {name: float(np.mean([b[name] for _, b in rows])) for name in ("rollouts", "tokens")}
        found[arm] = {
            **level,
            **spent,
            "tail": _level([b for _, b in rows], metric),
            "effect": _relative(rows, metric),
            "easy": dataclasses.asdict(paired(_of(rows, lambda a, b: _easy(b, mean) - _easy(a, mean)))),
            "curves": [b["curves"] for _, b in rows],
        }
    return {
        "recipe": summaries[0]["recipe"],
        "metric": metric,
        "control": control,
        "seeds": [s["seed"] for s in summaries],
        "arms": found,
    }


def _relative(rows: Any, metric: str) -> dict[str, Any] | None:
    """Paired relative change; None where the control solved nothing in a seed, so that there is none."""
    if not all(a[metric] for a, _ in rows):
        return None
    return dataclasses.asdict(paired(_of(rows, lambda a, b: b[metric] / a[metric] - 1.0)))


def _of(rows: Any, of: Callable[[Any, Any], float]) -> Any:
    return np.array([of(a, b) for a, b in rows], np.float64)


def _level(arms: Sequence[dict[str, Any]], metric: str) -> float | None:
    """Mean of the hardest slice over seeds; None where no seed has one."""
    values = [s[metric] for arm in arms for s in arm["slices"] if s["name"] == _TAIL]
    return float(np.mean(values)) if values else None


def _easy(arm: dict[str, Any], mean: str) -> float:
    """Mean@k of prompts of base pass rate from .3 on, in points."""
    slices = [s for s in arm["slices"] if s["name"] in _EASY]
    total = sum(s["num_prompts"] for s in slices)
    return 100.0 * sum(s[mean] * s["num_prompts"] for s in slices) / total if total else 0.0


def rows(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the comparison's table."""
    metric = found["metric"]
    heads = [
        "arm",
        metric,
        "change",
        "easy mean, points",
        f"{metric} of the tail",
        "tokens",
        "entropy, first to last",
        "answer, tokens",
    ]
    table: list[list[str]] = []
    for name, arm in found["arms"].items():
        easy, effect = arm["easy"], arm["effect"]
        control = name == found["control"]
        table.append(
            [
                name,
                f"{arm[metric]:.3f}",
                "" if control else _change(effect),
                "" if control else f"{easy['mean']:+.1f} ({easy['low']:+.1f} to {easy['high']:+.1f})",
                "" if arm["tail"] is None else f"{arm['tail']:.3f}",
                f"{arm['tokens']:,.0f}",
                _ends(arm["curves"], "entropy"),
                _ends(arm["curves"], "length"),
            ]
        )
    return heads, table


def _change(effect: dict[str, Any] | None) -> str:
    if effect is None:
        return "of 0: undefined"
    return f"{effect['mean']:+.1%} ({effect['low']:+.1%} to {effect['high']:+.1%})"


def _ends(curves: Sequence[dict[str, list[float]]], name: str) -> str:
    """Means over the first and the last tenth of training, over seeds."""
    shares = [np.array_split(np.array(curve[name]), 10) for curve in curves if curve[name]]
    if not shares:
        return ""
    first, last = (np.mean([part[i].mean() for part in shares]) for i in (0, -1))
    return f"{first:.2f} to {last:.2f}"
