"""Numbers of figures on hand-made logs, and the data of the explorer as the page reads them."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pytest
from runs import run, visits

from gdro.report import explorer as explorer_module
from gdro.report.explorer import explorer, smallest
from gdro.report.numbers import calibration, gini, lorenz, solved, spearman, standard_error_ratio
from gdro.report.pack import packed
from gdro.report.panels import edges, smooth, thinned


def test_standard_error_is_that_of_uniform_where_rollouts_are_equal():
    rows = [(p, s, p % 3, 4, 1 + p % 2) for s in range(5) for p in range(30)]
    ratio = standard_error_ratio(
        run(EVEN := [0, 10, 10, 10], [4] * 4, [1] * 4, steps=5, seen=visits(rows))
    )
    assert len(EVEN) == 4 and np.allclose(ratio, 1)


def test_standard_error_by_hand():
    # One bin that varies with 9 rollouts, one that never does with 1: mean 5.
    rows = [(p, 0, 0, 9, 3) for p in range(10)] + [(10 + p, 0, 1, 1, 1) for p in range(10)]
    made = run([0, 10, 10], [np.nan, 9, 1], [1, 1, 1], steps=1, seen=visits(rows))
    assert standard_error_ratio(made) == pytest.approx([np.sqrt(5 / 9)])
    dull = run([0, 10], [np.nan, 4], [1, 1], steps=1, seen=visits([(0, 0, 0, 4, 4)]))
    assert np.isnan(standard_error_ratio(dull)).all()


def test_solved_counts_each_prompt_once():
    rows = [(0, 0, -1, 4, 0), (1, 0, -1, 4, 2), (0, 2, 0, 4, 1), (1, 2, 5, 4, 0), (2, 3, -1, 4, 0)]
    made = solved(run([0, 1], [4, 4], [1, 1], steps=4, seen=visits(rows), num_prompts=5))
    assert made.solved_S.tolist() == [1, 1, 2, 2]
    assert made.never_solved_S.tolist() == [1, 1, 0, 1]
    assert made.never_tried_S.tolist() == [3, 3, 3, 2]


def test_gini_and_lorenz():
    assert gini(np.zeros(5)) == 0.0
    spent = np.random.default_rng(0).integers(0, 50, 400)
    x, y = lorenz(spent)
    area = float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
    assert gini(spent) == pytest.approx(1 - 2 * area, abs=0.005)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)


def test_spearman_shares_ranks_and_calibration_leaves_first_visits_out():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 6, 200).astype(float), rng.random(200)
    assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    seen = visits([(0, 0, -1, 4, 4), (0, 1, 2, 4, 1), (1, 1, 2, 4, 3)], predicted=0.25)
    found = calibration(seen)
    assert found is not None
    assert (found.predicted.tolist(), found.observed.tolist()) == ([0.25], [0.5])


def test_first_visits_are_calibrated_where_they_were_predicted():
    rows = [(0, 2, 3, 4, 4), (0, 1, 2, 4, 1), (1, 1, 2, 4, 3), (2, 0, -1, 4, 0), (2, 3, 1, 4, 4)]
    found = calibration(visits(rows, predicted=0.25), first=True)
    assert found is not None and found.visits.tolist() == [2]
    assert (found.predicted.tolist(), found.observed.tolist()) == ([0.25], [0.5])


def test_thinning_keeps_means():
    value = np.arange(1000.0)
    value[3] = np.nan
    assert edges(1000, 100).tolist() == list(range(0, 1001, 10))
    assert thinned(value, 100)[1] == 14.5 and thinned(value, 100)[0] == pytest.approx(42 / 9)
    assert thinned(value[:5], 100).shape == (5,)
    assert np.isnan(thinned(np.full(10, np.nan), 2)).all()
    assert smooth(np.array([1.0, np.nan, 3.0]), 3).tolist() == [1, 2, 3]


def unpacked(text: str):
    """As assets/pack.js reads it."""
    raw = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + length])
    body, sizes = raw[4 + length :], {"uint8": 1, "uint16": 2, "uint32": 4}
    assert all(start % sizes[kind] == 0 for kind, start, _ in head["arrays"].values())
    return head["data"], {
        name: np.frombuffer(body, kind, count, start).tolist()
        for name, (kind, start, count) in head["arrays"].items()
    }


def test_explorer_holds_every_visit():
    rows = [(1, 0, -1, 300, 2), (0, 3, -1, 4, 0), (1, 70_000, 4, 2, 1), (0, 5, 2, 4, 4)]
    made = run([0] * 11, [4] * 11, [1] * 11, steps=2, seen=visits(rows))
    found = explorer([made, made])
    assert found is not None
    data, arrays = unpacked(packed(*found))
    assert data["keys"] == ["k0", "k1"] and data["runs"] == ["mine", "mine"]
    assert data["left_out"] == [0, 0]
    assert arrays["0/visits"] == [2, 2]
    assert arrays["1/step"] == [3, 2, 0, 70_000]
    assert arrays["1/n"] == [4, 4, 300, 2] and arrays["1/successes"] == [0, 4, 2, 1]
    assert arrays["1/bin"] == [0, 3, 0, 5]
    assert smallest(np.array([], np.int64)).dtype == np.uint8
    assert explorer([run([0, 1], [4, 4], [1, 1])]) is None


def test_explorer_keeps_the_prompts_with_most_rollouts(monkeypatch):
    monkeypatch.setattr(explorer_module, "MOST_PROMPTS", 2)
    made = run([0] * 11, [4] * 11, [1] * 11, seen=visits([(p, 0, 0, 1 + p, 0) for p in range(5)]))
    found = explorer([made])
    assert found is not None
    assert found[0]["keys"] == ["k3", "k4"] and found[0]["left_out"] == [3]


@pytest.mark.parametrize("num", [3, 10**9, 2**53, 2**62 - 1])
def test_a_stated_number_of_prompts_is_never_an_index(num):
    places, shares = lorenz(np.array([1.0, 2.0, 3.0]), num)
    assert places[-1] == 1.0 and (np.diff(shares) >= 0).all()
    assert num > 2**53 or shares[-1] == 1.0
