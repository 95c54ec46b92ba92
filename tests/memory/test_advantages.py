"""Advantages of rows for learners without a trainer, by hand: unscored rows, dropped rows, replays."""

from __future__ import annotations

import numpy as np
import pytest

from gdro import Outcome, Recall, Weights
from gdro.memory.advantages import WeightedRows

NAN = np.nan


def rows(prompts, rewards, keep=None, baseline="kept", weights=None) -> WeightedRows:
    """Rows of an outcome; a reward of NaN is none."""
    reward_R, ones = np.array(rewards, float), np.ones(len(rewards))
    valid_R = ~np.isnan(reward_R)
    outcome = Outcome(0, np.array(prompts), reward_R, reward_R > 0.5, valid_R=valid_R)
    keep_R = valid_R if keep is None else np.array(keep)
    weight_R = ones if weights is None else np.array(weights, float)
    return WeightedRows.of(outcome, Weights(weight_R, keep_R, baseline))


def normalised(rewards):
    return (rewards - np.mean(rewards)) / (np.std(rewards, ddof=1) + 1e-4)


@pytest.mark.parametrize("baseline", ["kept", "all"])
def test_rows_without_a_reward_count_nowhere(baseline):
    made = rows([3, 3, 3, 5], [0.0, 1.0, NAN, NAN], baseline=baseline)
    assert made.advantage_R() == pytest.approx([*normalised([0.0, 1.0]), 0.0, 0.0])


def test_what_stands_in_the_place_of_a_reward_is_not_read():
    for held in (np.inf, 1e9, 0.0):
        outcome = Outcome(
            0,
            np.array([3, 3, 3]),
            np.array([0.0, 1.0, held]),
            np.array([False, True, False]),
            valid_R=np.array([True, True, False]),
        )
        made = WeightedRows.of(outcome, Weights(np.ones(3), np.ones(3, bool), "all"))
        assert made.advantage_R() == pytest.approx([*normalised([0.0, 1.0]), 0.0])


def test_dropped_rows_with_a_reward_count_in_a_baseline_of_all():
    keep = [True, True, False, False]
    made = rows([3, 3, 3, 3], [0.0, 1.0, 1.0, NAN], keep, "all", [2.0, 2.0, 2.0, 2.0])
    want = 2.0 * normalised([0.0, 1.0, 1.0])
    assert made.advantage_R() == pytest.approx([want[0], want[1], 0.0, 0.0])


def test_a_replay_has_the_weight_of_a_kept_row_of_its_group():
    made = rows([3, 3, 3, 5], [0.0, 0.0, NAN, NAN], weights=[3.0, 3.0, 3.0, 2.0])
    joined = made.with_replays([Recall(3, "replay"), Recall(5, "replay")])
    assert joined.weight_R.tolist() == [3.0, 3.0, 0.0, 0.0, 3.0, 0.0]
    want = 3.0 * normalised([0.0, 0.0, 1.0])
    assert joined.advantage_R()[[0, 1, 4]] == pytest.approx(want)
    assert joined.advantage_R()[[2, 3]].tolist() == [0.0, 0.0]


def test_a_replay_and_its_group_share_the_factor():
    """Group 3 failed and is replayed at a quarter; group 5 is not replayed and keeps its weight."""
    made = rows([3, 3, 5, 5], [0.0, 0.0, 0.0, 1.0], weights=[2.0, 2.0, 1.0, 1.0])
    joined = made.with_replays([Recall(3, "replay", weight=0.25)])
    assert joined.weight_R.tolist() == [0.5, 0.5, 1.0, 1.0, 0.5]
    replayed = 0.5 * normalised([0.0, 0.0, 1.0])
    fresh = normalised([0.0, 1.0])
    assert joined.advantage_R() == pytest.approx([*replayed[:2], *fresh, replayed[2]])
    assert replayed.sum() == pytest.approx(0.0, abs=1e-3)
