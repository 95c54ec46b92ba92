"""Summary statistics of a dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MOST = 12  # groups listed
_KINDS = (
    ("letter", re.compile(r"[A-Z]")),
    ("integer", re.compile(r"-?\d+")),
    ("decimal", re.compile(r"-?\d*\.\d+")),
    ("fraction", re.compile(r"-?(?:\\[dt]?frac\s*\{-?\d+\}\s*\{-?\d+\}|\d+/\d+)")),
)


def statistics(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Summarise a dataset.

    Args:
        rows: Rows with `prompt`, `answer`, `source`, and optionally `level`.

    Returns:
        Name and value of each line of a table.
    """
    lengths = np.quantile([len(row["prompt"]) for row in rows], [0.5, 0.95, 1.0])
    kinds = Counter(kind_of(row["answer"]) for row in rows)
    lines = [
        ("problems", f"{len(rows):,}"),
        ("characters per problem", "median {:,.0f}, 95% {:,.0f}, longest {:,.0f}".format(*lengths)),
        ("answers", _shares(kinds)),
    ]
    for column in ("source", "level"):
        values = Counter(str(row[column]) for row in rows if column in row)
        if values:
            lines.append((column, _shares(values)))
    return lines


def kind_of(answer: str) -> str:
    """Kind of an answer: letter, integer, decimal, fraction or expression.

    >>> kind_of("-12"), kind_of("\\\\frac{1}{2}"), kind_of("x+1")
    ('integer', 'fraction', 'expression')
    """
    return next((name for name, form in _KINDS if form.fullmatch(answer)), "expression")


def _shares(counts: Counter[str]) -> str:
    listed = [f"{name} {number:,}" for name, number in counts.most_common(_MOST)]
    rest = len(counts) - len(listed)
    return ", ".join(listed) + (f", and {rest} more" if rest > 0 else "")
