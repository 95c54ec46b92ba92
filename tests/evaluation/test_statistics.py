"""Paired effects: intervals that cover, tests that hold their level, Holm by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.errors import StudyError
from gdro.evaluation.statistics import at_budget, holm, paired


def test_no_difference_is_no_difference() -> None:
    effect = paired(np.zeros(12))
    assert (effect.mean, effect.low, effect.high, effect.p_value, effect.wins) == (0, 0, 0, 1, 0)


def test_intervals_cover_and_the_test_keeps_its_level() -> None:
    rng = np.random.default_rng(0)
    effects = [paired(rng.normal(0.0, 1.0, 12), seed) for seed in range(150)]
    covered = np.mean([e.low <= 0.0 <= e.high for e in effects])
    assert 0.85 <= covered <= 0.99  # percentile intervals of 12 pairs are a little short
    assert np.mean([e.p_value <= 0.05 for e in effects]) <= 0.10


def test_intervals_of_five_pairs_are_too_narrow_by_as_much_as_the_docs_say() -> None:
    """The percentile bootstrap covers 84% of normal differences (docs/studies.md)."""
    differences = np.random.default_rng(0).normal(size=(400, 5))
    effects = [paired(row, seed=number) for number, row in enumerate(differences)]
    assert 0.79 < np.mean([effect.low <= 0 <= effect.high for effect in effects]) < 0.88


def test_a_clear_effect_is_found() -> None:
    effect = paired(np.random.default_rng(1).normal(1.0, 0.3, 12))
    assert effect.low > 0.7
    assert effect.p_value < 0.01
    assert effect.wins == effect.pairs == 12


def test_one_pair_proves_nothing() -> None:
    assert paired(np.array([0.5])).p_value == 1.0


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(StudyError, match="finite"):
        paired(np.array([0.1, np.nan]))


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_against_its_definition(p_values) -> None:
    adjusted = holm(p_values)
    ordered = sorted(p_values.values())
    for arm, p in p_values.items():
        rank = ordered.index(p)
        steps = [min(1.0, (len(ordered) - j) * ordered[j]) for j in range(rank + 1)]
        ties = [j for j, q in enumerate(ordered) if q == p]
        last = [min(1.0, (len(ordered) - j) * ordered[j]) for j in range(ties[-1] + 1)]
        assert max(steps) - 1e-12 <= adjusted[arm] <= max(last) + 1e-12


def test_curves_are_read_between_their_points() -> None:
    assert at_budget([10, 20], [0.2, 0.4], 15) == pytest.approx(0.3)
    assert at_budget([10, 20], [0.2, 0.4], 99) == 0.4
