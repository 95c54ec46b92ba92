"""A recipe over several seeds: evaluations at their steps, and paired effects with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import read_json, write_json
from gdro.evaluation.statistics import paired
from gdro.recipes.evaluations import LINES, lines_of
from gdro.recipes.processes import is_first
from gdro.recipes.run_folder import BASE, EVAL, ORIGIN, differing, other_paths
from gdro.recipes.schema import Recipe

SEEDS = "seeds.json"
_FOLDER = "seed-"
# Options of tasks by what then is the same for every seed.
_ROWS = {"file", "files", "data"}
_OF_ALL = {"weights": {"base", "model"}, "train": _ROWS, "heldout": _ROWS}
_TAIL = "hardest (base p < .02)"
_EASY = ("medium (.3 to .9)", "easy (base p >= .9)")
_SPENT = ("step", "seconds", "rollouts", "tokens")


def run_seeds(
    recipe: Recipe,
    seeds: Sequence[int],
    output: Path,
    run: Callable[[Recipe, Path], dict[str, Any]],
) -> dict[str, Any]:
    """Run a recipe for every seed in a folder `seed-N`, and compare its arms.

    After each seed `seeds.json` is written with all seeds of the folder whose arms are finished, also
    those of earlier calls. A killed run leaves what it reached.

    Args:
        recipe: The recipe; its own seed is not used.
        seeds: The seeds, at least one.
        output: Folder of the runs.
        run: Runs one seed in its folder, and returns its summary.

    Returns:
        What `compared` returns, and `left_out`: why other seeds of the folder are not compared, by seed.

    Raises:
        RecipeError: A recipe that the folder holds is damaged.
    """
    finished_seeds(recipe, output)  # damage is told before hours of training
    summaries: dict[int, dict[str, Any]] = {}
    comparison: dict[str, Any] = {}
    for seed in seeds:
        summaries[seed] = run(dataclasses.replace(recipe, seed=seed), output / f"{_FOLDER}{seed}")
        there, left_out = finished_seeds(recipe, output, list(summaries)) if is_first() else ({}, {})
        known = {**there, **summaries}
        others = {str(number): why for number, why in left_out.items() if number not in known}
        comparison = compared([known[number] for number in sorted(known)], output)
        comparison["left_out"] = others
        if is_first():
            write_json(output / SEEDS, comparison)
    return comparison


def finished_seeds(
    recipe: Recipe, output: Path, ran: Sequence[int] = ()
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Summaries of the seeds of a folder with the same recipe whose arms are finished, by seed.

    Args:
        recipe: The recipe.
        output: Folder of the runs.
        ran: Seeds of this call. Other seeds must have started from the same weights where a task has an
            option for its base or model, and from the same rows where it has one for its files.

    Returns:
        The summaries, with `recipe`, `seed`, `base` and `arms`; and why the other seeds are left out.

    Raises:
        GdroError: A file in a seed's folder is damaged.
    """
    summaries: dict[int, dict[str, Any]] = {}
    left_out: dict[int, str] = {}
    for folder in output.glob(f"{_FOLDER}*"):
        number = folder.name.removeprefix(_FOLDER)
        if not number.isdecimal():
            continue
        one = dataclasses.replace(recipe, seed=int(number))
        changed = differing(one, folder, recipe.arms)
        if changed == [] and one.seed not in ran:
            changed = _other_origin(one, folder, [_origin(output / f"{_FOLDER}{n}") for n in ran])
        unfinished = [name for name in recipe.arms if not (folder / name / EVAL).exists()]
        if changed is None or unfinished or not (folder / BASE).exists():
            left_out[one.seed] = f"not finished: {', '.join(unfinished) or 'its base'}"
        elif changed:
            left_out[one.seed] = f"another recipe: {'; '.join(changed)}"
        else:
            arms = {name: read_json(folder / name / EVAL) for name in recipe.arms}
            about = {"recipe": recipe.name, "seed": one.seed}
            summaries[one.seed] = {**about, "base": read_json(folder / BASE), "arms": arms}
    return summaries, left_out


def compared(summaries: Sequence[dict[str, Any]], output: Path) -> dict[str, Any]:
    """Levels of every arm, and effects against the first paired by seed, from one summary per seed.

    Args:
        summaries: One per seed, in the order of the result.
        output: Folder with a folder `seed-N` for each, which holds the evaluations during the training.

    Returns:
        `recipe`, `metric`, `control`; for each seed `seeds`, `origins` (digests of what its arms started
        from) and `base` (means of the untrained model); and `arms`. Of an arm: means over the seeds of
        its last evaluation and of what it generated, `tail`, `effect`, `easy`; for each seed `curves`,
        and `evaluations` at their steps: what was spent until then, mean@k, pass@k.
    """
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
            "evaluations": [
                _evaluations(s["arms"][arm], output / f"{_FOLDER}{s['seed']}" / arm) for s in summaries
            ],
            "curves": [run["curves"] for run in runs],
        }
    by_seed = {
        "seeds": [s["seed"] for s in summaries],
        "origins": [_origin(output / f"{_FOLDER}{s['seed']}") for s in summaries],
        "base": [_means(s["base"]) for s in summaries],
    }
    about = {"recipe": summaries[0]["recipe"], "metric": metric, "control": control}
    return {**about, **by_seed, "arms": by_arm}


def _other_origin(recipe: Recipe, folder: Path, known: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Why a seed's arms did not start from what those of this call did, as far as that is known."""
    here, there = next((origin for origin in known if origin), None), _origin(folder)
    paths = other_paths(recipe, folder)
    if here is None or there is None:
        return paths if known else []
    parts = [part for part, of in _OF_ALL.items() if paths or of & recipe.task_options.keys()]
    return [f"its arms started from other {part}" for part in parts if here[part] != there[part]]


def _evaluations(run: Mapping[str, Any], folder: Path) -> list[dict[str, float]]:
    """Means of an arm's evaluations, oldest first: those during the training, else the one after it."""
    logged = run["curves"]["step"]  # of a release whose `eval.json` had no step
    return [
        _means(line) for line in lines_of(folder / LINES) or [{"step": max(logged, default=0), **run}]
    ]


def _means(evaluation: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in evaluation.items() if k in _SPENT or k.startswith(("mean@", "pass@"))}


def _origin(folder: Path) -> dict[str, Any] | None:
    """Digests of what a seed's arms started from; None in a folder of an earlier release."""
    return read_json(folder / ORIGIN) if (folder / ORIGIN).exists() else None


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
    heads = [
        "arm",
        metric,
        "change",
        "easy mean, points",
        f"{metric} of the tail",
        "rollouts",
        "tokens",
    ]
    table: list[list[str]] = []
    for name, arm in comparison["arms"].items():
        easy, change = arm["easy"], ["", ""]
        if name != comparison["control"]:
            points = f"{easy['mean']:+.1f} ({easy['low']:+.1f} to {easy['high']:+.1f})"
            change = [_change(arm["effect"]), points]
        tail = "" if arm["tail"] is None else f"{arm['tail']:.3f}"
        ends = [_ends(arm["curves"], curve) for curve in ("entropy", "length")]
        spent = [f"{arm[key]:,.0f}" for key in ("rollouts", "tokens")]
        table.append([name, f"{arm[metric]:.3f}", *change, tail, *spent, *ends])
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
