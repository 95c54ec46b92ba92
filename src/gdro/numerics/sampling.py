"""Drawing prompts by bin, without replacement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray

_SCAN = 100  # a guess costs as much as looking at this many prompts


def draw_by_bin(
    bin_N: IntArray,
    mass_C: FloatArray,
    num_prompts: int,
    rng: np.random.Generator,
    size_C: IntArray | None = None,
) -> IntArray:
    """Draw distinct prompts in random order: a bin by inverse CDF, then uniformly inside it, shape (P,).

    `mass_C` has the probability of unseen prompts (bin -1) first, then of each bin; `size_C` the number
    of prompts likewise, and is counted if absent. A bin that runs out passes the rest of its draws to
    the others in proportion to their mass.
    """
    if size_C is None:
        size_C = np.bincount(bin_N.astype(np.int64) + 1, minlength=len(mass_C))
    take_C = np.zeros(len(mass_C), np.int64)
    while (left := num_prompts - int(take_C.sum())) > 0:
        room_C = size_C - take_C
        mass = np.where(room_C > 0, mass_C, 0.0)
        # Bins of no mass serve only when nothing else is left.
        mass = mass if mass.sum() > 0 else room_C.astype(np.float64)
        cdf = np.cumsum(mass) / mass.sum()
        drawn = np.minimum(np.searchsorted(cdf, rng.random(left), side="right"), len(cdf) - 1)
        take_C += np.minimum(np.bincount(drawn, minlength=len(cdf)), room_C)
    parts = [
        _inside(bin_N, c - 1, int(size_C[c]), int(take_C[c]), rng)
        for c in np.flatnonzero(take_C).tolist()
    ]
    return rng.permutation(np.concatenate(parts))


def _inside(bin_N: IntArray, b: int, size: int, take: int, rng: np.random.Generator) -> IntArray:
    """Distinct prompts of one bin, uniformly."""
    if size <= _SCAN * take:
        return rng.choice(np.flatnonzero(bin_N == b), take, replace=False)
    # Few out of many: guess and keep those inside, which avoids a scan of all prompts.
    drawn = np.zeros(0, np.int64)
    while len(drawn) < take:
        guess = rng.integers(0, len(bin_N), 64 + int(1.2 * take * len(bin_N) / size))
        drawn = np.concatenate([drawn, guess[bin_N[guess] == b]])
        _, first = np.unique(drawn, return_index=True)
        drawn = drawn[np.sort(first)]
    return drawn[:take]


def draw_outside(num_prompts: int, taken_P: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Up to `count` distinct prompts outside of the taken ones, uniformly and in random order."""
    count = min(count, num_prompts - len(taken_P))
    # Enough for every taken prompt to be drawn too.
    drawn = rng.choice(num_prompts, min(num_prompts, count + len(taken_P)), replace=False)
    return drawn[~np.isin(drawn, taken_P)][:count]


def draw_weighted(weight_N: FloatArray, num_prompts: int, rng: np.random.Generator) -> IntArray:
    """Distinct prompts, each next one with probability in proportion to its weight.

    Adding Gumbel noise to log-weights and taking the largest is the same as drawing one after the
    other without replacement (Efraimidis and Spirakis 2006). Prompts of weight zero come last. Returns
    dataset indices in the order of the draws, shape (P,).
    """
    with np.errstate(divide="ignore"):
        key_N = np.log(weight_N) + rng.gumbel(size=len(weight_N))
    # Ties of minus infinity are broken at random, not by position.
    key_N = np.where(np.isneginf(key_N), -1e300 * (1.0 + rng.random(len(key_N))), key_N)
    top = np.argpartition(-key_N, num_prompts - 1)[:num_prompts]
    return top[np.argsort(-key_N[top])]


def shuffled(num: int, part: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """The numbers 0 to `num` - 1 in random order, in parts that grow from `part` numbers; lazy.

    What was taken costs as much as it holds, up to a factor.
    """
    taken = np.zeros(0, np.int64)
    while len(taken) < num:
        drawn = rng.choice(num, min(num, len(taken) + part), replace=False)
        if len(taken):
            drawn = drawn[~np.isin(drawn, taken)]
        yield drawn
        taken, part = np.concatenate([taken, drawn]), 4 * part
