"""Factors on the tokens of recalled rows, for the policy that generated them."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray

MOST = 2.0
"""Largest factor of the decoupled objective, as truncated importance sampling caps it."""


def decoupled(now_MT: FloatArray, then_MT: FloatArray) -> FloatArray:
    """Probability under the current policy over that under the generating one, at most 2, (M, T).

    Args:
        now_MT: Log-probability of each token under the current policy, shape (M, T).
        then_MT: The same under the policy that generated the rows.

    >>> decoupled(np.log([[0.5, 0.5]]), np.log([[0.25, 0.1]])).round(6).tolist()
    [[2.0, 2.0]]
    """
    return np.minimum(_ratio(now_MT, then_MT), MOST)


def clipped(
    now_MT: FloatArray, then_MT: FloatArray, advantage_M: FloatArray, low: float, high: float
) -> FloatArray:
    """Gradient of min(r A, clip(r) A) over that of the current policy's own, A: r, 0 where clipped.

    Here r is the probability under the current policy over that under the generating one, so that the
    gradient at the start of a step is that of the loss clipped against the generating policy.

    Args:
        now_MT: Log-probability of each token under the current policy, shape (M, T).
        then_MT: The same under the policy that generated the rows.
        advantage_M: Advantage of each row, shape (M,).
        low: The ratio is clipped below at 1 - low.
        high: The ratio is clipped above at 1 + high.

    >>> now, then = np.log([[0.6, 0.2], [0.6, 0.2]]), np.log([[0.4, 0.4], [0.4, 0.4]])
    >>> clipped(now, then, np.array([1.0, -1.0]), 0.2, 0.28).round(6).tolist()
    [[0.0, 0.5], [1.5, 0.0]]
    """
    ratio_MT, up_M1 = _ratio(now_MT, then_MT), advantage_M[:, None] > 0
    out_MT = np.where(up_M1, ratio_MT > 1.0 + high, ratio_MT < 1.0 - low)
    return np.where(out_MT, 0.0, ratio_MT)


def _ratio(now_MT: FloatArray, then_MT: FloatArray) -> FloatArray:
    return np.exp(np.clip(now_MT - then_MT, -20.0, 20.0))
