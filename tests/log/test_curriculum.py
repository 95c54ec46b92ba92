"""Series over the bins, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gdro.log.curriculum import curriculum

NAN = np.nan


def test_by_hand():
    prompts = np.array([[3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    rollouts = np.array([[2.0, NAN, 6.0, NAN], [NAN] * 4])
    weight = np.array([[1.0, NAN, 2.0, NAN], [NAN] * 4])
    made = {name: value[0] for name, value in curriculum(prompts, rollouts, weight).items()}
    # Share .75, 0, .25, 0; pull 6 and 12 of 18.
    assert made["bin_mean"] == pytest.approx(0.5)
    assert made["pull_bin_mean"] == pytest.approx(4 / 3)
    assert made["lead"] == pytest.approx(4 / 3 - 0.5)
    assert made["share_upper"] == pytest.approx(0.25)
    assert made["share_top"] == 0.0
    assert made["share_entropy"] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert made["effective_bins"] == pytest.approx(np.exp(-np.log(1 / 3) / 3 - 2 * np.log(2 / 3) / 3))
    assert all(np.isnan(value[1]) for value in curriculum(prompts, rollouts, weight).values())


def test_equal_rollouts_and_weights_have_no_lead():
    prompts = np.random.default_rng(0).integers(1, 20, (50, 10)).astype(float)
    made = curriculum(prompts, np.full((50, 10), 4.0), np.ones((50, 10)))
    assert np.allclose(made["lead"], 0)
    assert np.allclose(made["share_entropy"], made["pull_entropy"])
    # The paper's bins >= 3 and >= 8, of ten.
    assert np.allclose(made["share_upper"], prompts[:, 3:].sum(1) / prompts.sum(1))
    assert np.allclose(made["share_top"], prompts[:, 8:].sum(1) / prompts.sum(1))
