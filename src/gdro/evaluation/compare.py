"""Two evaluations of the same problems: paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.evaluation.records import EvaluationError, Record
from gdro.evaluation.scores import ALL, interval
from gdro.numerics.arrays import FloatArray
from gdro.numerics.passk import passk_unbiased


def compare(first: Sequence[Record], second: Sequence[Record], k: int) -> dict[str, Any]:
    """Compare two models problem by problem.

    Args:
        first: Records of the reference model.
        second: Records of the model compared with it, on the same problems.
        k: The k of pass@k; at most the number of samples of either model.

    Returns:
        By set, and for all problems as `all`: `num_prompts`, and for `pass@k` and `mean` the values of
        `first` and `second`, their `difference` with `low` and `high` (95% bootstrap over problems), and
        the numbers of problems on which the second model is `better` and `worse`.

    Raises:
        EvaluationError: The problems or their right answers differ, or k is out of range.
    """
    a, b = {record.key: record for record in first}, {record.key: record for record in second}
    if not a or not b:
        raise EvaluationError("an evaluation has no samples yet; finish both, then compare them")
    if a.keys() != b.keys():
        common = len(a.keys() & b.keys())
        raise EvaluationError(
            f"the first has {len(a)} problems, the second {len(b)}, of which {common} are the same; "
            "evaluate both on the same sets with the same --limit"
        )
    hashes = {key: (a[key].gold_hash, b[key].gold_hash) for key in a}
    changed = [key for key, (one, other) in hashes.items() if one and other and one != other]
    if changed:
        raise EvaluationError(
            f"the right answers of {len(changed)} problems differ, first of {changed[0][1][:60]!r} in "
            f"{changed[0][0][:60]!r}; run both evaluations again on the same data, which judges their "
            "samples anew"
        )
    least = min(len(record.right) for record in (*first, *second))
    if not 1 <= k <= least:
        raise EvaluationError(f"k is {k}; it must be from 1 to the {least} samples")
    sets = {name: [key for key in a if key[0] == name] for name, _ in a}
    sets[ALL] = list(a)
    return {
        name: _paired([a[key] for key in keys], [b[key] for key in keys], k)
        for name, keys in sets.items()
    }


def _paired(first: Sequence[Record], second: Sequence[Record], k: int) -> dict[str, Any]:
    def mean(records: Sequence[Record]) -> FloatArray:
        return np.array([sum(record.right) / len(record.right) for record in records], np.float64)

    def passes(records: Sequence[Record]) -> FloatArray:
        counts = np.array([(sum(record.right), len(record.right)) for record in records])
        return passk_unbiased(counts[:, 0], counts[:, 1], k)

    return {
        "num_prompts": len(first),
        f"pass@{k}": _difference(passes(first), passes(second)),
        "mean": _difference(mean(first), mean(second)),
    }


def _difference(first_N: FloatArray, second_N: FloatArray) -> dict[str, float]:
    change_N = second_N - first_N
    low, high = interval(change_N)
    return {
        "first": float(first_N.mean()),
        "second": float(second_N.mean()),
        "difference": float(change_N.mean()),
        "low": low,
        "high": high,
        "better": int((change_N > 0).sum()),
        "worse": int((change_N < 0).sum()),
    }
