"""Does the strategy act at all, and does it still act on more than one bin?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdro.numerics.arrays import FloatArray
from gdro.report.figures.curriculum import series_of
from gdro.report.load import LoggedRun
from gdro.report.verdicts.rightness import one_verdict
from gdro.report.verdicts.verdict import Verdict

ASLEEP, COLLAPSED = 0.02, 2.0


def adversary_asleep(run: LoggedRun) -> Verdict | None:
    """Weights within 2% of one in the second half of the run; for strategies with an adversary."""
    if "q" not in run.strategy or one_verdict(run) is not None:
        return None  # where every verdict is the same no step size helps
    late = _half(run)
    if "resample" in _values(run.header.get("options", {}), "mode"):
        q_SB = run.strategy["q"][late]
        relative = q_SB * (q_SB > 0).sum(axis=1, keepdims=True)
        distance, what = _distance(np.where(q_SB > 0, relative, np.nan)), "drawing probabilities"
    else:
        distance, what = _distance(run.bins["weight"][late, 1:]), "weights"
    if distance is None or distance > ASLEEP:
        return None
    evidence = (
        f"In the second half of the run its {what} stayed within {100 * distance:.2g}% of one, so this "
        "is plain GRPO. A signal in [0, 1] such as `failure` needs eta near 4; `surrogate` is zero "
        "on-policy."
    )
    return Verdict("warning", f"{run.name}: the adversary is asleep.", evidence, "weights")


def adversary_collapsed(run: LoggedRun) -> Verdict | None:
    """Fewer than two effective bins of pull in the last quarter, where the prompts lie in more."""
    if "q" not in run.strategy and "price" not in run.metrics:  # it neither weighs nor allocates by bin
        return None
    series = series_of(run)
    late = slice(-max(1, run.num_steps // 4), None)
    pull, share = series["effective_bins"][late], np.exp(series["share_entropy"][late])
    if not np.isfinite(pull).any():
        return None
    pull, share = float(np.nanmean(pull)), float(np.nanmean(share))
    if pull >= COLLAPSED or share < COLLAPSED:
        return None
    evidence = (
        f"In the last quarter the gradient came from {pull:.1f} effective bins (as many bins of equal "
        f"pull would be as spread out), while the prompts lie in {share:.1f}. Lower eta, raise gamma, "
        "or normalise with `mean_one_active`."
    )
    return Verdict("warning", f"{run.name}: the adversary has collapsed.", evidence, "entropy")


def allocation_asleep(run: LoggedRun) -> Verdict | None:
    """Rollouts within 2% of their mean in the second half; for strategies with a price."""
    if "price" not in run.metrics:
        return None
    late = _half(run)
    rollouts_SB = run.bins["rollouts"][late, 1:]
    distance = _distance(rollouts_SB / run.metrics["rollouts_mean"][late, None])
    if distance is None or distance > ASLEEP:
        return None
    evidence = (
        f"In the second half of the run the bins' rollouts stayed within {100 * distance:.2g}% of the "
        "mean: look whether the prompts lie in more than one bin, and whether n_min is below n_max."
    )
    return Verdict("warning", f"{run.name}: every bin gets the same rollouts.", evidence, "rollouts")


def _half(run: LoggedRun) -> slice:
    return slice(run.num_steps // 2, None)


def _distance(value: FloatArray) -> float | None:
    """Largest distance from one, NaN left out; None if no value is finite."""
    known = value[np.isfinite(value)]
    return float(np.abs(known - 1.0).max()) if len(known) else None


def _values(options: Any, name: str) -> list[Any]:
    """Values of an option, in a strategy and its parts."""
    if not isinstance(options, Mapping):
        return []
    inner = [v for part in options.values() for v in _values(part, name)]
    return [options[name], *inner] if name in options else inner
