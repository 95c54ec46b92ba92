"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gdro.common.untrusted import printable

ROLLOUTS = (
    "Rollouts are all that were generated, kept or not: at equal steps they are equal except for arms "
    "that ask for more (dapo, ...)."
)


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print the comparison of a run's arms (`summary.json`), whole and by slice of base difficulty."""
    rows = {"base model": summary["base"], **summary["arms"]}
    metric = next(k for k in summary["base"] if k.startswith("pass@"))
    mean = metric.replace("pass", "mean")
    table = Table(title=cell(f"{summary['recipe']}, seed {summary['seed']}: held-out prompts"))
    for column in ("arm", mean, metric, "95% interval", "rollouts", "tokens", "seconds"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for name, row in rows.items():
        low, high = row[f"ci_{metric}"]
        spent = [f"{row[k]:,.0f}" if k in row else "" for k in ("rollouts", "tokens", "seconds")]
        table.add_row(
            cell(name), f"{row[mean]:.3f}", f"{row[metric]:.3f}", f"{low:.3f} to {high:.3f}", *spent
        )
    console = console or Console()
    console.print(table)
    console.print(_by_slice(rows, metric))
    console.print(ROLLOUTS)
    console.print("One seed shows the mechanism, not the effect: compare arms over many seeds.")


def cell(text: str) -> Text:
    """A text without control characters, whose brackets are no markup."""
    return Text(printable(text))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table()
    for head in heads:
        table.add_column(cell(head))
    for row in rows:
        table.add_row(*map(cell, row))
    Console().print(table)


def _by_slice(rows: dict[str, Any], metric: str) -> Table:
    names = [s["name"] for s in rows["base model"]["slices"]]
    table = Table(title=f"{metric} by difficulty for the base model")
    table.add_column("arm")
    for s in rows["base model"]["slices"]:
        table.add_column(cell(f"{s['name']}\n{s['num_prompts']} prompts"), justify="right")
    for arm, row in rows.items():
        by_slice = {s["name"]: s[metric] for s in row["slices"]}
        table.add_row(cell(arm), *(f"{by_slice[n]:.3f}" if n in by_slice else "" for n in names))
    return table
