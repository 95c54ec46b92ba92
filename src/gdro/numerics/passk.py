"""pass@k from counts: unbiased, and under a Beta posterior; utilities of more rollouts."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from gdro.numerics.arrays import FloatArray, IntArray

Utility = Literal["discovery", "failure", "mixed", "hit", "variance"]
UTILITIES: tuple[str, ...] = get_args(Utility)

_FAILURE_OFFSET = 1.05  # `failure` gives a prompt rollouts in proportion to 1.05 - p


def passk_unbiased(successes: npt.ArrayLike, trials: npt.ArrayLike, k: int) -> FloatArray:
    """Unbiased pass@k, 1 - C(n-s, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Successes s and trials n >= k have the same shape and may be fractional (decayed counts).

    >>> float(passk_unbiased(1, 4, 2))
    0.5
    """
    n = np.asarray(trials, np.float64)
    failures = n - np.asarray(successes, np.float64)
    i = np.arange(k, dtype=np.float64)
    factors: FloatArray = np.maximum(failures[..., None] - i, 0.0) / (n[..., None] - i)
    return np.asarray(1.0 - np.prod(factors, axis=-1), np.float64)


def miss_curve(alpha: npt.ArrayLike, beta: npt.ArrayLike, n_max: int) -> FloatArray:
    """E[(1-p)^n] for n = 0..n_max under p ~ Beta(alpha, beta).

    A running product of (beta+i)/(alpha+beta+i): exact to rounding for counts of any size, where
    differences of log-gammas lose digits. Shape (..., n_max + 1).

    >>> miss_curve(1.0, 1.0, 2).round(4).tolist()
    [1.0, 0.5, 0.3333]
    """
    failures = np.asarray(beta, np.float64)
    trials = np.asarray(alpha, np.float64) + failures
    # The product runs over the first axis: whole rows are multiplied at once.
    i = np.arange(n_max, dtype=np.float64).reshape(-1, *(1 for _ in range(trials.ndim)))
    curve = np.ones((n_max + 1, *trials.shape))
    np.divide(failures + i, trials + i, out=curve[1:])
    for n in range(1, n_max + 1):  # many times faster than multiply.accumulate, the same to the bit
        curve[n] *= curve[n - 1]
    return np.moveaxis(curve, 0, -1)


def passk_posterior(alpha: npt.ArrayLike, beta: npt.ArrayLike, k: int) -> FloatArray:
    """Posterior mean of pass@k, 1 - E[(1-p)^k] under p ~ Beta(alpha, beta)."""
    failures = np.asarray(beta, np.float64)
    trials = np.asarray(alpha, np.float64) + failures
    # The product runs over the first axis: whole rows are multiplied at once.
    i = np.arange(k, dtype=np.float64).reshape(-1, *(1 for _ in range(trials.ndim)))
    return 1.0 - np.multiply.reduce((failures + i) / (trials + i), axis=0)


def utilities(kind: Utility, alpha_P: FloatArray, beta_P: FloatArray, arm_A: IntArray) -> FloatArray:
    """Expected utility of n rollouts under the Beta posterior of the pass rate.

    discovery: E[(1-p)(1-(1-p)^n)]; mixed: 1 - E p^n - E(1-p)^n; hit: 1 - E(1-p)^n;
    variance: -E[p(1-p)]/n, the square-root law (Theorem 4.2); failure: (1.05 - E p) log n, whose
    optimum gives rollouts in proportion to 1.05 - E p. All are concave in n. The counts of `arm_A` are
    consecutive and increasing. Shape (P, A).
    """
    n_max = int(arm_A[-1])
    total_P = alpha_P + beta_P
    if kind == "variance":
        variance_P = alpha_P * beta_P / (total_P * (total_P + 1.0))
        return -variance_P[:, None] / arm_A
    if kind == "failure":
        return (_FAILURE_OFFSET - alpha_P / total_P)[:, None] * np.log(arm_A)
    miss = miss_curve(alpha_P, beta_P, n_max + 1)
    first = int(arm_A[0])  # arms are consecutive: slices, not copies
    missed_PA = miss[:, first : n_max + 1]
    if kind == "hit":
        return 1.0 - missed_PA
    if kind == "mixed":
        return 1.0 - missed_PA - miss_curve(beta_P, alpha_P, n_max)[:, first:]
    return miss[:, 1:2] - miss[:, first + 1 :]
