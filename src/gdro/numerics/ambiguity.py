"""Worst cases over ambiguity sets of distributions: exact best responses of the adversary.

Each solves max_q <q, loss> over distributions q near a prior: with an entropy penalty, with a bounded
density (CVaR), or in a chi-square ball (Duchi and Namkoong 2018, arXiv 1810.08750). Losses have shape
(B,); so has the prior, which may have zeros and is uniform by default.
"""

from __future__ import annotations

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray
from gdro.numerics.simplex import softmax


def entropy_response(loss_B: FloatArray, eta: float, prior_B: FloatArray | None = None) -> FloatArray:
    """The maximiser of <q, loss> - KL(q || prior) / eta: q proportional to prior exp(eta loss), (B,).

    With the uniform prior its value is within log(B) / eta of the largest loss (Lemma 4.1).
    """
    if prior_B is None:
        return softmax(eta * loss_B)
    with np.errstate(divide="ignore"):
        return softmax(eta * loss_B + np.log(prior_B))


def cvar_response(loss_B: FloatArray, level: float, prior_B: FloatArray | None = None) -> FloatArray:
    """The maximiser of <q, loss> over q <= prior / level: the worst `level` of the mass.

    A level of 1 gives the prior, small ones the worst bin. Bins of equal loss at the boundary share
    what is left in proportion to the prior, so the response does not depend on their order.

    >>> cvar_response(np.array([0.0, 1.0, 2.0, 3.0]), level=0.5).tolist()
    [0.0, 0.0, 0.5, 0.5]
    """
    prior_B = _prior(loss_B, prior_B)
    order: IntArray = np.argsort(-loss_B, kind="stable")
    # The boundary is the first bin whose own mass completes `level`.
    mass: FloatArray = np.cumsum(prior_B[order])
    short = int(np.count_nonzero(mass < level * float(mass[-1]) * (1.0 - 1e-12)))
    boundary = loss_B[order[short]]
    q_B = np.where(loss_B > boundary, prior_B / level, 0.0)
    tied_B = np.where(loss_B == boundary, prior_B, 0.0)
    return q_B + tied_B * (max(0.0, 1.0 - float(q_B.sum())) / float(tied_B.sum()))


def chi2_response(loss_B: FloatArray, radius: float, prior_B: FloatArray | None = None) -> FloatArray:
    """The maximiser of <q, loss> over sum (q - prior)^2 / prior <= radius.

    It is prior * max(0, loss - nu) up to scale. For the k worst bins nu has a closed form, and the
    divergence grows with nu, so k follows from sorted prefix sums. A radius of 0 gives the prior.
    Shape (B,).

    >>> chi2_response(np.array([0.0, 1.0]), radius=0.25).round(3).tolist()
    [0.25, 0.75]
    """
    prior_B = _prior(loss_B, prior_B)
    level_K, mass_K, mean_K, square_K = _upper_moments(loss_B, prior_B)
    if radius <= 0 or len(level_K) == 1:
        return prior_B
    if mass_K[0] * (1.0 + radius) >= 1.0:  # the ball reaches the worst bins alone
        return np.where(loss_B == level_K[0], prior_B, 0.0) / mass_K[0]
    # Divergence when nu sits on the next lower loss, where bin k+1 is about to join.
    gap_K = mean_K[:-1] - level_K[1:]
    divergence_K = (square_K[:-1] / gap_K**2 + 1.0) / mass_K[:-1] - 1.0
    k = int(np.count_nonzero(divergence_K > radius))
    depth = np.sqrt(square_K[k] / (mass_K[k] * (1.0 + radius) - 1.0))
    tilt_B = prior_B * np.maximum(0.0, loss_B - (mean_K[k] - depth))
    return tilt_B / tilt_B.sum()


def _upper_moments(
    loss_B: FloatArray, prior_B: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Distinct losses, largest first, and the mass, mean and mean square deviation above each."""
    inside_B = prior_B > 0
    rising_K, row_B = np.unique(-loss_B[inside_B], return_inverse=True)
    level_K: FloatArray = -rising_K
    own_K = np.bincount(row_B, prior_B[inside_B]).astype(np.float64)
    mass_K: FloatArray = np.cumsum(own_K)
    # Deviations from the largest loss: differences of nearby losses keep their digits.
    below_K = level_K[0] - level_K
    mean_K: FloatArray = np.cumsum(own_K * below_K) / mass_K
    square_K: FloatArray = np.maximum(0.0, np.cumsum(own_K * below_K**2) / mass_K - mean_K**2)
    return level_K, mass_K, level_K[0] - mean_K, square_K


def _prior(loss_B: FloatArray, prior_B: FloatArray | None) -> FloatArray:
    return np.full(len(loss_B), 1.0 / len(loss_B)) if prior_B is None else prior_B / prior_B.sum()
