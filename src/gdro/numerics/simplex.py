"""Exponential weights on the simplex, and weights that keep a mean of one."""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray


def softmax(score: FloatArray) -> FloatArray:
    """Softmax over the last axis: the maximiser of <q, score> + H(q) (Lemma 4.1).

    >>> softmax(np.array([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def mix(q: FloatArray, gamma: float) -> FloatArray:
    """Mix a distribution over the last axis with the uniform one: (1-gamma) q + gamma / B (eq. 15)."""
    return (1.0 - gamma) * q + gamma / q.shape[-1]


def mean_one(weight: FloatArray, cap: float, share: FloatArray | None = None) -> FloatArray:
    """Scale positive weights to a (share-weighted) mean of one, none above `cap` >= 1.

    Capping lowers the mean and rescaling raises capped weights, so both are repeated until nothing
    changes: entries at the cap stay there, the others are scaled.

    >>> mean_one(np.array([1.0, 1.0, 100.0]), cap=2.0).tolist()
    [0.5, 0.5, 2.0]
    """
    share_P = np.ones_like(weight) if share is None else share
    total = float(share_P.sum())
    scaled_P = weight * (total / float(share_P @ weight))
    if scaled_P.max() <= cap:
        return scaled_P
    capped_P = np.zeros(len(weight), bool)
    while bool(np.any(over_P := (scaled_P > cap) & ~capped_P)):
        capped_P |= over_P
        free_P = ~capped_P
        left = total - cap * float(share_P[capped_P].sum())
        mass = float(share_P[free_P] @ weight[free_P])
        # With a cap of exactly one everything is capped and nothing is left to scale.
        factor = left / mass if mass > 0 else 1.0
        scaled_P = np.where(capped_P, cap, weight * factor)
    return np.minimum(scaled_P, cap)
