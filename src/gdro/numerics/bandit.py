"""Online adversaries from partial feedback: Hedge, EXP3.P and Tsallis-INF.

The three score rules of the stochastic group-DRO game of Soma et al. 2022 (arXiv 2212.13669): Hedge
where every bin is seen in each step, EXP3.P and TINF where a step only shows the bins that it drew.
Gains lie in [0, 1]; the adversary prefers bins of large gain (loss of the model).
"""

from __future__ import annotations

import math

import numpy as np

from gdro.numerics.arrays import FloatArray


def hedge_step(num_bins: int, horizon: int) -> float:
    """Step size sqrt(8 log B / T) of Hedge.

    With it the regret against the best of B bins in T steps is at most sqrt(T log(B) / 2), for any gains
    in [0, 1] (Cesa-Bianchi and Lugosi 2006, theorem 2.2: log(B) / eta + eta T / 8).
    """
    return math.sqrt(8.0 * math.log(max(2, num_bins)) / horizon)


def exp3p_steps(num_bins: int, horizon: int, delta: float = 0.05) -> tuple[float, float, float]:
    """Step size eta, mixing gamma and bias of EXP3.P.

    With them the regret in T steps is at most 5.15 sqrt(T B log(B / delta)) with probability 1 - delta,
    also against an adaptive opponent (Bubeck and Cesa-Bianchi 2012, theorem 3.3).
    """
    bins = max(2, num_bins)
    rate = math.sqrt(math.log(bins) / (horizon * bins))
    bias = math.sqrt(math.log(bins / delta) / (horizon * bins))
    return 0.95 * rate, min(1.0, 1.05 * bins * rate), bias


def importance_estimate(
    gain_B: FloatArray, share_B: FloatArray, probability_B: FloatArray, bias: float = 0.0
) -> FloatArray:
    """Estimate every bin's gain from those that were drawn: (share gain + bias) / probability.

    Unbiased without `bias` when each prompt falls in bin b with probability_B[b]. The bias makes the
    estimate an upper bound with high probability, instead of more exploration. `gain_B` is the mean gain
    of the drawn prompts of each bin, `share_B` their share; a bin of probability zero gets 0. (..., B).
    """
    seen_B = np.where(share_B > 0, gain_B, 0.0) * share_B + bias
    possible_B = probability_B > 0
    return np.where(possible_B, seen_B / np.where(possible_B, probability_B, 1.0), 0.0)


def tinf_step(step: int) -> float:
    """Anytime step size 2 / sqrt(t) of Tsallis-INF.

    With it the expected regret is at most 4 sqrt(B T) + 1 for any T (Zimmert and Seldin 2021, arXiv
    1807.07623, theorem 1 with importance-weighted estimates). Steps count from 1.
    """
    return 2.0 / math.sqrt(max(1, step))


def tinf_policy(loss_B: FloatArray, eta: float) -> FloatArray:
    """Follow the leader regularised by the 1/2-Tsallis entropy: q_b = 4 / (eta (L_b - x))^2, (..., B).

    L are the cumulative estimated losses (minus the gains); Newton's method gives the x for which q
    sums to one.
    """
    # Scaled so that the smallest loss is zero: x then lies in [-2 sqrt(B), -2].
    scaled_B = eta * (loss_B - loss_B.min(axis=-1, keepdims=True))
    x = np.full((*loss_B.shape[:-1], 1), -2.0)
    q_B = 4.0 / (scaled_B - x) ** 2
    for _ in range(100):
        # From above (sum >= 1) Newton on this convex function falls monotonically to the root.
        step = (q_B.sum(axis=-1, keepdims=True) - 1.0) / (q_B**1.5).sum(axis=-1, keepdims=True)
        x = x - step
        q_B = 4.0 / (scaled_B - x) ** 2
        if bool((step <= -1e-15 * x).all()):
            break
    return q_B / q_B.sum(axis=-1, keepdims=True)
