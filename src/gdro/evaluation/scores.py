"""From samples to figures: mean@k, unbiased pass@k with intervals, majority votes, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gdro.common.slices import SLICES
from gdro.evaluation.records import EvaluationError, Record
from gdro.numerics.arrays import FloatArray
from gdro.numerics.passk import passk_unbiased

BOOTSTRAP = 2000
ALL = "all"


def scores(
    records: Sequence[Record], ks: Sequence[int], base: Mapping[tuple[str, str], float] | None = None
) -> dict[str, Any]:
    """Sum up an evaluation.

    Args:
        records: All with the same number of samples S.
        ks: Sizes k of pass@k, each at most S.
        base: Pass rate of a base model by set and problem, for slices of base difficulty.

    Returns:
        `sets`: figures by set, and of all problems together as `all`; `groups`: figures by `source` and
        `level`, with the `worst` of each; `slices` by base difficulty, if `base` is given.

    Raises:
        EvaluationError: There are no records, their samples differ in number, k is out of range, or
            `base` lacks a problem.
    """
    _check(records, ks)
    found: dict[str, Any] = {"sets": _figures_by(records, ks, lambda record: record.set)}
    found["sets"][ALL] = figures(records, ks)
    found["groups"] = {}
    for column in ("source", "level"):
        groups = _figures_by(
            [r for r in records if getattr(r, column)], ks,
            lambda record, column=column: f"{record.set}: {getattr(record, column)}",
        )  # fmt: skip
        if len(groups) > 1:
            worst = min(groups, key=lambda name: groups[name][f"pass@{max(ks)}"])
            found["groups"][column] = {"worst": worst, "by": groups}
    if base is not None:
        found["slices"] = _slices(records, ks, base)
    return found


def figures(records: Sequence[Record], ks: Sequence[int]) -> dict[str, Any]:
    """Figures of some problems.

    Args:
        records: With S samples each.
        ks: Sizes k of pass@k (arXiv 2107.03374, eq. 1).

    Returns:
        `num_prompts`, `samples`, `mean@S`, `maj@S` (ties count by the share of right answers among the
        most frequent), `pass@k` and `ci_pass@k` for each k, mean `tokens` of a sample.
    """
    right = np.array([record.right for record in records])
    samples = right.shape[1]
    found: dict[str, Any] = {
        "num_prompts": len(records),
        "samples": samples,
        f"mean@{samples}": float(right.mean()),
        f"maj@{samples}": float(np.mean([majority(record) for record in records])),
        "tokens": float(np.mean([record.tokens for record in records])),
    }
    for k in ks:
        pass_N = passk_unbiased(right.sum(axis=1), np.full(len(records), samples), k)
        found[f"pass@{k}"] = float(pass_N.mean())
        found[f"ci_pass@{k}"] = interval(pass_N)
    return found


def majority(record: Record) -> float:
    """How right the most frequent answer is: 1, 0, or between where several tie.

    Answers are the same if their texts are, spaces apart; samples without one do not vote.
    """
    votes: Counter[str] = Counter()
    right: dict[str, bool] = {}
    for answer, ok in zip(record.answers, record.right, strict=True):
        if answer is not None:
            key = "".join(answer.split())
            votes[key] += 1
            right[key] = ok
    if not votes:
        return 0.0
    most = max(votes.values())
    first = [right[key] for key, number in votes.items() if number == most]
    return sum(first) / len(first)


def interval(value_N: FloatArray, seed: int = 0) -> list[float]:
    """95% bootstrap interval of a mean over problems.

    Args:
        value_N: Shape (N,).
        seed: Of the bootstrap.

    Returns:
        Low and high.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(value_N), (BOOTSTRAP, len(value_N)))
    low, high = np.quantile(value_N[draws].mean(axis=1), [0.025, 0.975])
    return [float(low), float(high)]


def _check(records: Sequence[Record], ks: Sequence[int]) -> None:
    if not records:
        raise EvaluationError("there are no records")
    sizes = {len(record.right) for record in records}
    if len(sizes) > 1:
        raise EvaluationError(
            f"problems have {min(sizes)} to {max(sizes)} samples; all must have as many"
        )
    wrong = [k for k in ks if not 1 <= k <= min(sizes)]
    if wrong or not ks:
        raise EvaluationError(
            f"k is {wrong or 'missing'}; it must be from 1 to the {min(sizes)} samples"
        )


def _figures_by(
    records: Sequence[Record], ks: Sequence[int], key: Callable[[Record], str]
) -> dict[str, Any]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: figures(group, ks) for name, group in groups.items()}


def _slices(
    records: Sequence[Record], ks: Sequence[int], base: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    missing = [record for record in records if (record.set, record.prompt_id) not in base]
    if missing:
        raise EvaluationError(
            f"the base evaluation lacks {len(missing)} of {len(records)} problems, the first of "
            f"{missing[0].set!r}; evaluate it on the same sets"
        )
    rates = [base[record.set, record.prompt_id] for record in records]
    found: dict[str, Any] = {}
    for name, low, high in SLICES:
        group = [r for r, rate in zip(records, rates, strict=True) if low <= rate < high]
        if group:
            found[name] = figures(group, ks)
    return found
