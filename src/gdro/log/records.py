"""What the controller logs about a closed plan: a step record and one record per group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from gdro.difficulty.tracker import Difficulty
from gdro.groups import Groups
from gdro.log.curriculum import curriculum
from gdro.numerics.arrays import FloatArray, IntArray
from gdro.step.in_flight import Pending
from gdro.strategy import Strategy

OF_VERDICTS = ("pass_rate", "all_right", "all_wrong", "mixed", "flat_right", "flat_wrong")
OF_REWARDS = ("reward", "gradient", "flat_right", "flat_wrong", "gradient_rollouts")


def summary(groups: Groups, weight_P: FloatArray) -> dict[str, float]:
    """Scalar metrics of one step: means over prompts, so that the allocation does not bias them.

    `OF_VERDICTS` are absent if no rollout was judged, `OF_REWARDS` if none has a reward.
    """
    scored_P, rewarded_P = groups.scored_P, groups.rewarded_P
    rollouts_P = groups.plan.rollouts_P
    successes, trials = groups.successes_P[scored_P], groups.trials_P[scored_P]
    num, rewarded = max(1, int(scored_P.sum())), max(1, int(rewarded_P.sum()))
    metrics = {
        "pass_rate": float((successes / trials).sum() / num),
        "reward": float(groups.reward_P[rewarded_P].sum() / rewarded),
        "all_right": float((successes == trials).sum() / num),
        "all_wrong": float((successes == 0).sum() / num),
        "mixed": float(groups.mixed_P.sum() / num),
        **_gradients(groups, rewarded),
        "unscored_groups": float((~rewarded_P).sum()),
        "unjudged_groups": float((rewarded_P & ~scored_P).sum()),
        "unseen": float((groups.plan.bin_P < 0).mean()),
        "rollouts_mean": float(rollouts_P.mean()),
        "rollouts_min": float(rollouts_P.min()),
        "rollouts_max": float(rollouts_P.max()),
        "weight_mean": float(weight_P.mean()),
        "weight_max": float(weight_P.max()),
    }
    unknown = () if scored_P.any() else OF_VERDICTS
    unknown += () if rewarded_P.any() else OF_REWARDS
    return {name: value for name, value in metrics.items() if name not in unknown}


def _gradients(groups: Groups, rewarded: int) -> dict[str, float]:
    """Shares of the rewarded groups with a gradient, and without one: all right, or not."""
    flat_P = groups.rewarded_P & ~groups.has_gradient_P
    right_P = groups.scored_P & (groups.successes_P == groups.trials_P)
    rows_P = groups.rows_P
    return {
        "gradient": float(groups.has_gradient_P.sum() / rewarded),
        "flat_right": float((flat_P & right_P).sum() / rewarded),
        "flat_wrong": float((flat_P & ~right_P).sum() / rewarded),
        "gradient_rollouts": float(rows_P[groups.has_gradient_P].sum() / max(1, int(rows_P.sum()))),
    }


def bins(groups: Groups, weight_P: FloatArray, num_bins: int) -> dict[str, list[float | None]]:
    """Prompts, and mean rollouts, weight and pass rate by bin, None where a bin is absent.

    Each list has 1 + B entries: the unseen prompts, then bins 0..B-1.
    """
    bin_P = groups.plan.bin_P + 1
    count = np.bincount(bin_P, minlength=num_bins + 1)
    pass_P = np.where(groups.scored_P, groups.successes_P / np.maximum(groups.trials_P, 1), 0.0)
    scored = np.bincount(bin_P, groups.scored_P, num_bins + 1)

    def mean(value_P: FloatArray, over: Any) -> list[float | None]:
        total = np.bincount(bin_P, value_P, num_bins + 1)
        return [float(t / c) if c else None for t, c in zip(total, over, strict=True)]

    return {
        "prompts": [float(c) for c in count],
        "rollouts": mean(groups.plan.rollouts_P.astype(np.float64), count),
        "weight": mean(weight_P, count),
        "pass_rate": mean(pass_P, scored),
    }


def header(
    strategy: Strategy[Any], difficulty: Difficulty, seed: int, num_prompts: int, num_bins: int
) -> dict[str, Any]:
    """Description of the run for `RunLog.describe`."""
    return {
        "strategy": strategy.name,
        "options": strategy.config(),
        "difficulty": difficulty.identity(),
        "seed": seed,
        "num_prompts": num_prompts,
        "num_bins": num_bins,
    }


def tracked(by_bin: dict[str, list[float | None]]) -> dict[str, float]:
    """Finite scalars of one step for a tracker such as W&B, `curriculum/...` and `bin_NN/...`."""
    column_1C = {k: np.array([v], np.float64) for k, v in by_bin.items()}
    prompts_1C = column_1C["prompts"]
    column_1C["share"] = prompts_1C / prompts_1C.sum()
    names = ("share", "rollouts", "weight", "pass_rate")
    series = curriculum(*(column_1C[k][:, 1:] for k in ("prompts", "rollouts", "weight")))
    values = {f"curriculum/{name}": float(value_1[0]) for name, value_1 in series.items()}
    for name in names:
        for place, value in enumerate(column_1C[name][0].tolist()):
            values[f"{'unseen' if place == 0 else f'bin_{place - 1:02d}'}/{name}"] = value
    return {name: value for name, value in values.items() if isfinite(value)}


def weight(pending: Pending) -> FloatArray:
    """Mean weight of each prompt, one if the plan was never weighed, shape (P,)."""
    weight_P = pending.weight_P
    return np.ones(len(pending.plan.prompt_P)) if weight_P is None else weight_P


def shadow(shadow_P: IntArray | None) -> dict[str, list[int]]:
    """Rollouts that the strategy would have allocated, in shadow mode; else nothing."""
    return {} if shadow_P is None else {"shadow_rollouts": shadow_P.tolist()}


def group_records(
    groups: Groups, weight_P: FloatArray, predicted_P: FloatArray, keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One record per rollout group.

    `n` counts judged rollouts, `rows` those with a reward; `gradient` says whether rewards differ.
    `predicted_P` is the pass rate expected before this visit; `keys` are the keys of all prompts.
    """
    plan = groups.plan
    column_of = {
        "bin": plan.bin_P,
        "n": groups.trials_P,
        "successes": groups.successes_P,
        "rows": groups.rows_P,
        "gradient": groups.has_gradient_P,
        "weight": weight_P,
        "reward": groups.reward_P,
        "tokens": groups.tokens_P,
        "predicted": np.round(predicted_P, 4),
    }
    # Lists of plain numbers: reading them one by one from arrays is many times slower.
    rows = zip(*(column.tolist() for column in column_of.values()), strict=True)
    for prompt, row in zip(plan.prompt_P.tolist(), rows, strict=True):
        record: dict[str, Any] = {"ticket": plan.ticket, "key": keys[prompt]}
        record |= zip(column_of, row, strict=True)
        if not isfinite(record["reward"]):
            record["reward"] = None
        yield record
