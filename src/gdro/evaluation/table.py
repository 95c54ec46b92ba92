"""Markdown tables, in the layout of the paper's Table 1 (arXiv 2601.19280)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdro.evaluation.scores import ALL


def markdown(models: Mapping[str, Mapping[str, Any]], k: int) -> str:
    """One line a model: mean@S of each set, then pass@k of all problems with its interval, in percent.

    Args:
        models: What `scores` returned, by name; pass@k is set against the first one's.
        k: Of pass@k.
    """
    control = next(iter(models.values()))["sets"][ALL][f"pass@{k}"]
    names = list(dict.fromkeys(s for found in models.values() for s in found["sets"] if s != ALL))
    samples = next(iter(models.values()))["sets"][ALL]["samples"]
    heads = ["model", *(f"{name} mean@{samples}" for name in names), f"pass@{k}", "95% interval"]
    lines = [heads, ["---"] * len(heads)]
    for model, found in models.items():
        total = found["sets"][ALL]
        low, high = total[f"ci_pass@{k}"]
        sets = [
            _percent(found["sets"][s][f"mean@{samples}"]) if s in found["sets"] else "" for s in names
        ]
        interval = f"{_percent(low)} to {_percent(high)}"
        value = total[f"pass@{k}"]
        change = f" ({value / control - 1:+.2%})" if control and len(lines) > 2 else ""
        lines.append([model, *sets, _percent(value) + change, interval])
    return _table(lines)


def details(found: Mapping[str, Any], ks: list[int]) -> str:
    """Every figure by set, group and slice, in percent."""
    samples = found["sets"][ALL]["samples"]
    keys = [f"mean@{samples}", f"maj@{samples}", *(f"pass@{k}" for k in ks)]
    heads = ["problems", "number", *keys, "tokens"]
    rows = dict(found["sets"])
    for column, groups in found["groups"].items():
        rows |= {
            f"{column} {name}{' (worst)' if name == groups['worst'] else ''}": figures
            for name, figures in groups["by"].items()
        }
    rows |= found.get("slices", {})
    lines = [heads, ["---"] * len(heads)]
    for name, figures in rows.items():
        shown = [_percent(figures[key]) for key in keys]
        lines.append([name, str(figures["num_prompts"]), *shown, f"{figures['tokens']:,.0f}"])
    return _table(lines)


def comparison_table(found: Mapping[str, Any]) -> str:
    """Paired differences by set, in percentage points."""
    heads = ["problems", "number", "figure", "first", "second", "difference, points", "95% interval",
             "better", "worse"]  # fmt: skip
    lines = [heads, ["---"] * len(heads)]
    for name, by in found.items():
        for figure in [key for key in by if key != "num_prompts"]:
            d = by[figure]
            lines.append([
                name, str(by["num_prompts"]), figure, _percent(d["first"]), _percent(d["second"]),
                f"{100 * d['difference']:+.2f}", f"{100 * d['low']:+.2f} to {100 * d['high']:+.2f}",
                str(d["better"]), str(d["worse"]),
            ])  # fmt: skip
    return _table(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
