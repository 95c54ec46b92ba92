"""Drawing prompts without replacement: by bin, in proportion to weights, in random order.

Draws cost as much as the prompts that they give, not as much as the dataset, unless noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from gdro.numerics.arrays import FloatArray, IntArray, among, distinct


class ByLabel(Protocol):
    """Rows that can be read by label and rank, as in a `RankIndex`."""

    @property
    def size_L(self) -> IntArray:
        """Number of rows with each label, shape (L,)."""
        ...

    def select(self, label: int, rank_K: IntArray) -> IntArray:
        """Rows of the given ranks, from 0, among those with a label, shape (K,)."""
        ...


def draw_by_bin(
    bins: ByLabel, mass_C: FloatArray, num_prompts: int, rng: np.random.Generator
) -> IntArray:
    """Distinct prompts in random order: a bin by inverse CDF, then uniformly inside it, shape (P,).

    Args:
        bins: The prompts by bin.
        mass_C: Probability of each bin of the index. A bin that runs out passes the rest of its draws to
            the others in proportion to their mass.
        num_prompts: Number of prompts, P.
        rng: Source of the draws.
    """
    size_C = bins.size_L
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
        bins.select(c, rng.choice(int(size_C[c]), int(take_C[c]), replace=False))
        for c in np.flatnonzero(take_C).tolist()
    ]
    return rng.permutation(np.concatenate(parts))


def draw_outside(num_prompts: int, taken_P: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Up to `count` distinct prompts outside of the taken ones, uniformly and in random order."""
    count = min(count, num_prompts - len(taken_P))
    # Enough for every taken prompt to be drawn too.
    drawn = rng.choice(num_prompts, min(num_prompts, count + len(taken_P)), replace=False)
    return drawn[~among(drawn, taken_P)][:count]


def draw_weighted(
    num: int,
    wanted: int,
    weight: Callable[[IntArray], FloatArray],
    most: float,
    floor: float,
    rng: np.random.Generator,
) -> IntArray:
    """Distinct prompts, each next one with Pr(u) = floor/N + (1 - floor) w_u / sum w of those left.

    A share `floor` of the draws is uniform; for the others prompts are guessed, and accepted with
    probability w / most. Repeats are dropped, which is as good as drawing without replacement. It takes
    about most / mean w guesses a prompt; after as many guesses as there are prompts, the rest is drawn
    by a key for each prompt.

    Args:
        num: Number of prompts, N.
        wanted: Number of prompts to draw, P.
        weight: Weights w of given prompts, from 0 to `most`, shape (P,).
        most: Bound on the weights, above 0.
        floor: Share of the draws that is uniform, 0 to 1.
        rng: Source of the draws.

    Returns:
        Dataset indices in the order of the draws, shape (P,).
    """
    drawn, guesses = np.zeros(0, np.int64), 0
    while len(drawn) < wanted and guesses < num:
        guess = rng.integers(0, num, 32 + 2 * wanted)
        accepted = guess[rng.random(len(guess)) * most < weight(guess)]
        # As many draws as all weighted ones allow, whether they are used or not.
        uniform = rng.random(len(accepted)) < floor
        chosen = np.where(uniform, rng.integers(0, num, len(accepted)), accepted)
        drawn = np.concatenate([drawn, chosen])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        guesses += len(guess)
    if len(drawn) < wanted:
        weight_N = weight(np.arange(num))
        share_N = np.full(num, 1.0 / num)
        if weight_N.sum() > 0:
            share_N = (1.0 - floor) * weight_N / weight_N.sum() + floor / num
        rest = np.delete(np.arange(num), drawn)
        drawn = np.concatenate([drawn, rest[_by_keys(share_N[rest], wanted - len(drawn), rng)]])
    return drawn[:wanted]


def _by_keys(weight_N: FloatArray, num_prompts: int, rng: np.random.Generator) -> IntArray:
    """Distinct rows, each next one with probability in proportion to its weight; O(N).

    Adding Gumbel noise to log-weights and taking the largest is the same as drawing one after the
    other without replacement (Efraimidis and Spirakis 2006). Rows of weight zero come last.
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
            drawn = drawn[~among(drawn, taken)]
        yield drawn
        taken, part = np.concatenate([taken, drawn]), 4 * part


def draw_nearest(
    value_N: FloatArray, target: float, num_prompts: int, rng: np.random.Generator
) -> IntArray:
    """Places of the values nearest to the target, the nearest first, ties at random, shape (P,).

    `value_N` is sorted, shape (N,). Takes O(P + log N).
    """
    middle = int(np.searchsorted(value_N, target))
    low = max(0, middle - num_prompts)
    window = value_N[low : middle + num_prompts]
    distance = np.abs(window - target)
    last = np.partition(distance, num_prompts - 1)[num_prompts - 1]
    nearer = low + rng.permutation(np.flatnonzero(distance < last))
    nearer = nearer[np.argsort(np.abs(value_N[nearer] - target), kind="stable")]
    # Values at the last distance may reach far beyond the window.
    last_K = distinct(window[distance == last])
    start: IntArray = np.searchsorted(value_N, last_K, side="left")
    size: IntArray = np.searchsorted(value_N, last_K, side="right") - start
    slot = rng.choice(int(size.sum()), num_prompts - len(nearer), replace=False)
    part = np.searchsorted(np.cumsum(size), slot, side="right")
    return np.concatenate([nearer, start[part] + slot - (np.cumsum(size) - size)[part]])


def draw_lowest(value_N: FloatArray, room: int, num_prompts: int, rng: np.random.Generator) -> IntArray:
    """Distinct places among the `room` lowest values, uniformly, shape (P,); equal values take turns.

    `value_N` is sorted, shape (N,): where the last of the room are some of several equal values, each of
    these is in it with the same probability.
    """
    edge = float(value_N[room - 1])
    start = int(np.searchsorted(value_N, edge, side="left"))
    end = int(np.searchsorted(value_N, edge, side="right"))
    place = rng.choice(room, num_prompts, replace=False)
    equal = np.flatnonzero(place >= start)
    place[equal] = start + rng.choice(end - start, len(equal), replace=False)
    return place
