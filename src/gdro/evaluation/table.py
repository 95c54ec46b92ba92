"""Markdown tables, in the layout of the paper's Table 1 (arXiv 2601.19280)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdro.common.files import read_json
from gdro.evaluation.records import EvaluationError
from gdro.evaluation.scores import ALL


def markdown(models: Mapping[str, Mapping[str, Any]], k: int) -> str:
    """One line per model: mean@S of each set, then pass@k of all problems with its interval, in percent.

    Args:
        models: Results of `scores` by model name; pass@k is compared with that of the first model.
        k: The k of pass@k.

    Returns:
        The table in Markdown.
    """
    control = next(iter(models.values()))["sets"][ALL][f"pass@{k}"]
    names = list(dict.fromkeys(name for of in models.values() for name in of["sets"] if name != ALL))
    samples = next(iter(models.values()))["sets"][ALL]["samples"]
    heads = ["model", *(f"{name} mean@{samples}" for name in names), f"pass@{k}", "95% interval"]
    lines = [heads, ["---"] * len(heads)]
    for model, summary in models.items():
        sets, total = summary["sets"], summary["sets"][ALL]
        low, high = total[f"ci_pass@{k}"]
        means = [_percent(sets[name][f"mean@{samples}"]) if name in sets else "" for name in names]
        interval = f"{_percent(low)} to {_percent(high)}"
        value = total[f"pass@{k}"]
        change = f" ({value / control - 1:+.2%})" if control and len(lines) > 2 else ""
        lines.append([model, *means, _percent(value) + change, interval])
    return _table(lines)


def read_scores(folder: Path) -> dict[str, Any]:
    """Read the scores of a finished evaluation, as `markdown` needs them.

    Raises:
        EvaluationError: The folder has no scores, or they are damaged or of something else.
    """
    path = folder / "eval.json"
    if not path.is_file():
        raise EvaluationError(f"no eval.json in {folder}; pass folders of finished evaluations")
    result = read_json(path, ("sets",), EvaluationError)
    sets = result["sets"]
    wrong = "sets" if not isinstance(sets, dict) or ALL not in sets else None
    for name, figures in () if wrong else sets.items():
        wrong = wrong or _fault(f"sets.{name}", figures)
    if not wrong and len({figures["samples"] for figures in sets.values()}) > 1:
        wrong = "samples"
    if wrong:
        raise EvaluationError(f"{path} is damaged at {wrong[:80]!r}; run `gdro eval` again")
    return result


def passk_of(result: Mapping[str, Any]) -> set[int]:
    """Each k of which scores have pass@k."""
    names = [key.removeprefix("pass@") for key in result["sets"][ALL] if key.startswith("pass@")]
    return {int(k) for k in names if k.isascii() and k.isdigit() and len(k) < 9}


def _fault(name: str, figures: Any) -> str | None:
    """The first damaged figure of a set, None if it is sound."""
    if not isinstance(figures, dict):
        return name
    samples: Any = figures.get("samples")
    if type(samples) is not int or not _is_share(figures.get(f"mean@{samples}")):
        return f"{name}.mean"
    for key, value in figures.items():
        ends = value if key.startswith("ci_pass@") else [value] if key.startswith("pass@") else []
        if not isinstance(ends, list) or not all(map(_is_share, ends)):
            return f"{name}.{key}"
        interval: Any = figures.get(f"ci_{key}")
        if key.startswith("pass@") and not (isinstance(interval, list) and len(interval) == 2):
            return f"{name}.ci_{key}"
    return None


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def details(summary: Mapping[str, Any], ks: list[int]) -> str:
    """All scores by set, group and slice, in percent."""
    samples = summary["sets"][ALL]["samples"]
    keys = [f"mean@{samples}", f"maj@{samples}", *(f"pass@{k}" for k in ks)]
    heads = ["problems", "number", *keys, "tokens"]
    rows = dict(summary["sets"])
    for column, groups in summary["groups"].items():
        rows |= {
            f"{column} {name}{' (worst)' if name == groups['worst'] else ''}": figures
            for name, figures in groups["by"].items()
        }
    rows |= summary.get("slices", {})
    lines = [heads, ["---"] * len(heads)]
    for name, figures in rows.items():
        shown = [_percent(figures[key]) for key in keys]
        tokens = "unknown" if figures["tokens"] is None else f"{figures['tokens']:,.0f}"
        lines.append([name, str(figures["num_prompts"]), *shown, tokens])
    return _table(lines)


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """Paired differences by set, in percentage points.

    Args:
        comparison: Result of `compare`.

    Returns:
        The table in Markdown.
    """
    numbers = ["first", "second", "difference, points", "95% interval", "better", "worse"]
    heads = ["problems", "number", "figure", *numbers]
    lines = [heads, ["---"] * len(heads)]
    for name, by in comparison.items():
        for figure in [key for key in by if key != "num_prompts"]:
            d = by[figure]
            models = [_percent(d["first"]), _percent(d["second"])]
            interval = f"{100 * d['low']:+.2f} to {100 * d['high']:+.2f}"
            effect = [f"{100 * d['difference']:+.2f}", interval, str(d["better"]), str(d["worse"])]
            lines.append([name, str(by["num_prompts"]), figure, *models, *effect])
    return _table(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
