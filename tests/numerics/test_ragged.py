"""Statistics of ragged groups against a loop, whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.numerics.ragged import group_statistics, segment_sum

CASES = st.tuples(
    st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 10**6), st.booleans()
)


def case(groups, seed, integers):
    rng = np.random.default_rng(seed)
    value = rng.integers(-3, 4, len(groups)).astype(float) if integers else rng.normal(3, 2, len(groups))
    return value, np.array(groups), rng


@given(CASES)
def test_statistics_equal_a_loop(drawn):
    value, position, rng = case(*drawn)
    valid = rng.random(len(value)) < 0.8
    found = group_statistics(value, position, 7, valid)
    for p in range(7):
        rows = value[(position == p) & valid]
        assert found.count_P[p] == len(rows)
        want = (rows.mean() if len(rows) else np.nan, rows.std(ddof=1) if len(rows) > 1 else np.nan)
        assert (found.mean_P[p], found.std_P[p]) == pytest.approx(want, nan_ok=True, abs=1e-9)


@given(CASES)
def test_sums_do_not_depend_on_the_order_to_the_last_bit(drawn):
    value, position, rng = case(*drawn)
    order = rng.permutation(len(value))
    once, again = segment_sum(value, position, 7), segment_sum(value[order], position[order], 7)
    assert once.tobytes() == again.tobytes()


def test_integers_too_large_to_add_exactly_are_sorted_as_well():
    value = np.array([2.0**53, 1.0, 1.0, -(2.0**53)])
    sums = {segment_sum(value[list(o)], np.zeros(4, int), 1)[0] for o in ([0, 1, 2, 3], [1, 2, 0, 3])}
    assert len(sums) == 1


def test_deviation_keeps_its_digits_far_from_zero():
    value = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
    assert group_statistics(value, np.zeros(4, int), 1).std_P[0] == pytest.approx(
        np.std(range(4), ddof=1)
    )
