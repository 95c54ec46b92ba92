"""Markdown tables, in the layout of the paper's Table 1 (arXiv 2601.19280)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        lines.append([name, str(figures["num_prompts"]), *shown, f"{figures['tokens']:,.0f}"])
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
