"""Scores of samples: mean@S, unbiased pass@k with intervals, majority votes, groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from gdro.common.slices import SLICES
from gdro.evaluation.records import CUT, REFUSED, EvaluationError, Record
from gdro.numerics.arrays import FloatArray
from gdro.numerics.passk import passk_unbiased
from gdro.rewards.letters import bare
from gdro.rewards.notation import notation

BOOTSTRAP = 2000
_GYM = "reasoning-gym:"  # sets with several right answers to a problem
_DIGITS = r"[0-9]{1,40}"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<number>{_DIGITS}(?:\.{_DIGITS})?|\.{_DIGITS})(?:/(?P<by>{_DIGITS}))?"
    rf"|\\[dt]?frac\{{(?P<over>{_DIGITS})\}}\{{(?P<under>{_DIGITS})\}})"
)
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
ALL = "all"


def scores(
    records: Sequence[Record], ks: Sequence[int], base: Mapping[tuple[str, str], float] | None = None
) -> dict[str, Any]:
    """Summarise an evaluation.

    Args:
        records: One record per problem, all with the same number of samples S.
        ks: The values k of pass@k, each from 1 to S.
        base: Pass rate of a base model by set and prompt id, for slices by base difficulty.

    Returns:
        `sets`: scores by set, and of all problems together as `all`; `groups`: scores by `source` and
        `level`, with the `worst` of each; `slices` by base difficulty, if `base` is given; in
        `completions` the numbers of all samples and of `empty`, `cut` and `refused` ones.

    Raises:
        EvaluationError: There are no records, their samples differ in number, k is out of range, or
            `base` lacks a problem.
    """
    _check(records, ks)
    summary: dict[str, Any] = {"sets": _figures_by([record.set for record in records], records, ks)}
    summary["sets"][ALL] = figures(records, ks)
    summary["groups"] = {}
    summary["completions"] = _endings(records)
    for column in ("source", "level"):
        labelled = [record for record in records if getattr(record, column)]
        names = [f"{record.set}: {getattr(record, column)}" for record in labelled]
        groups = _figures_by(names, labelled, ks)
        if len(groups) > 1:
            worst = min(groups, key=lambda name: groups[name][f"pass@{max(ks)}"])
            summary["groups"][column] = {"worst": worst, "by": groups}
    if base is not None:
        summary["slices"] = _slices(records, ks, base)
    return summary


def figures(records: Sequence[Record], ks: Sequence[int]) -> dict[str, Any]:
    """Scores of some problems with S samples each.

    Returns:
        `num_prompts`, `samples`, `mean@S`, `maj@S` (a tie counts as the share of right answers among the
        most frequent ones), `pass@k` (arXiv 2107.03374, eq. 1) and `ci_pass@k` for each k, and the mean
        `tokens` per sample, None if they are unknown.
    """
    tokens = [number for record in records for number in record.tokens if number is not None]
    right = np.array([record.right for record in records])
    samples = right.shape[1]
    scores: dict[str, Any] = {
        "num_prompts": len(records),
        "samples": samples,
        f"mean@{samples}": float(right.mean()),
        f"maj@{samples}": float(np.mean([majority(record) for record in records])),
        "tokens": float(np.mean(tokens)) if tokens else None,
    }
    for k in ks:
        pass_N = passk_unbiased(right.sum(axis=1), np.full(len(records), samples), k)
        scores[f"pass@{k}"] = float(pass_N.mean())
        scores[f"ci_pass@{k}"] = interval(pass_N)
    return scores


def majority(record: Record) -> float:
    """Score of the most frequent answer: 1 or 0, or between them on a tie.

    Answers vote together if they have one value: right ones (as all equal the gold answer, except in
    reasoning-gym, where several may be right), equal numbers, and equal texts in one notation. Samples
    without an answer do not vote.
    """
    votes: Counter[tuple[bool, object]] = Counter()
    merges = not record.set.startswith(_GYM)
    for answer, right in zip(record.answers, record.right, strict=True):
        if answer is not None:
            votes[right, None if right and merges else _value(answer)] += 1
    if not votes:
        return 0.0
    most = max(votes.values())
    first = [right for (right, _), number in votes.items() if number == most]
    return sum(first) / len(first)


def _value(answer: str) -> Fraction | str:
    """What equal answers share: their number, or their text in one notation without spaces."""
    text = "".join(notation(bare(answer)).split())
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    match = _NUMBER.fullmatch(text)
    under = None if match is None else match["by"] or match["under"] or "1"
    if match is None or under is None or not int(under):
        return text
    value = Fraction(match["number"] or match["over"]) / int(under)
    return -value if match["sign"] == "-" else value


def _endings(records: Sequence[Record]) -> dict[str, int]:
    """Numbers of samples, and of those that are empty, cut off, and refused by the server."""
    endings = [ending for record in records for ending in record.endings]
    refused = sum(ending.startswith(REFUSED) for ending in endings)
    empty = sum(not text.strip() for record in records for text in record.texts) - refused
    number = sum(len(record.texts) for record in records)
    return {"number": number, "empty": empty, "cut": endings.count(CUT), "refused": refused}


def interval(value_N: FloatArray, seed: int = 0) -> list[float]:
    """Low and high end of the 95% bootstrap interval of a mean over problems."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(value_N), (BOOTSTRAP, len(value_N)))
    low, high = np.quantile(value_N[draws].mean(axis=1), [0.025, 0.975])
    return [float(low), float(high)]


def _check(records: Sequence[Record], ks: Sequence[int]) -> None:
    if not records:
        raise EvaluationError("there are no records; run `gdro eval` first")
    sizes = {len(record.right) for record in records}
    if len(sizes) > 1:
        raise EvaluationError(
            f"problems have {min(sizes)} to {max(sizes)} samples; all must have the same number"
        )
    wrong = [k for k in ks if not 1 <= k <= min(sizes)]
    if wrong or not ks:
        raise EvaluationError(
            f"k is {wrong or 'missing'}; it must be from 1 to the {min(sizes)} samples"
        )


def _figures_by(names: Sequence[str], records: Sequence[Record], ks: Sequence[int]) -> dict[str, Any]:
    """Scores of groups of records, by the name of each record's group."""
    groups: dict[str, list[Record]] = {}
    for name, record in zip(names, records, strict=True):
        groups.setdefault(name, []).append(record)
    return {name: figures(group, ks) for name, group in groups.items()}


def _slices(
    records: Sequence[Record], ks: Sequence[int], base: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    missing = [record for record in records if (record.set, record.prompt_id) not in base]
    if missing:
        raise EvaluationError(
            f"the base evaluation lacks {len(missing)} of {len(records)} problems, the first of "
            f"{missing[0].set[:60]!r}; evaluate it on the same sets"
        )
    groups = {
        name: [r for r in records if low <= base[r.set, r.prompt_id] < high]
        for name, low, high in SLICES
    }
    return {name: figures(group, ks) for name, group in groups.items() if group}
