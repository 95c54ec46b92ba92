"""The planner alone: plans that overlap, further rounds, weights, and where a resume goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

pytest.importorskip("trl", "1.16")  # older ones have another loop

from gdro import Controller, make_strategy
from gdro.errors import CheckpointError, StrategyError
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.trl.async_grpo.advantages import advantages
from gdro.integrations.trl.async_grpo.planner import Arrived, Planner, Wanted, read_position
from gdro.integrations.trl.correct import Named
from gdro.types import Outcome, Weights


def planner(strategy: str, prompts: int = 2, **options: Any) -> Planner:
    data = tiny.dataset(8)
    pool = dataset_pool(data)
    controller = Controller(make_strategy(strategy, **options), pool.problem, seed=1)
    judge = Named(("mine",), (0,), (0.5,))
    return Planner(controller, pool, data, judge, prompts, 4)


def arrived(wanted: Wanted, rewards: list[float]) -> Arrived:
    total_R = np.resize(np.array(rewards), wanted.rollouts)
    base_R = (total_R - total_R.mean()) / (total_R.std() + 1e-8)
    rows = [
        [SimpleNamespace(advantage=a, base=a, group_id=-1, row=wanted.row, reward=r)]
        for a, r in zip(base_R, total_R, strict=True)
    ]
    tokens_R = np.full(wanted.rollouts, 3)
    return Arrived(total_R[:, None].astype(np.float32), total_R, tokens_R, rows)


def test_a_plan_is_closed_when_its_last_group_arrives_whatever_the_order() -> None:
    desk = planner("uniform")
    first, second = desk.wanted(), desk.wanted()
    assert [w.row for w in first + second] == [0, 1, 2, 3]
    assert desk.take(second[1].number, arrived(second[1], [0, 1]), {}) == []
    assert desk.take(first[0].number, arrived(first[0], [0, 1]), {}) == []
    assert desk.controller.open_tickets == [0, 1]
    rows = desk.take(second[0].number, arrived(second[0], [1, 0, 0, 0]), {})
    assert desk.controller.open_tickets == [0]
    # In the order of arrival; groups count what is handed over.
    assert [(r.row, r.group_id) for r in rows] == [(3, 0)] * 4 + [(2, 1)] * 4
    rows = desk.take(first[1].number, arrived(first[1], [0, 0, 0, 1]), {})
    assert [(r.row, r.group_id) for r in rows] == [(0, 2)] * 4 + [(1, 3)] * 4
    assert desk.controller.ledger.closed == 2 and desk.controller.ledger.tokens == 16 * 3


def test_advantages_are_multiplied_by_the_weights_of_the_plan() -> None:
    desk = planner("prompt-gdro", 4)
    rows: list[Any] = []
    for _ in range(6):
        rows = []
        for w in desk.wanted():
            rows += desk.take(w.number, arrived(w, [0, 0, 0, 1] if w.row % 2 else [1, 1, 1, 0]), {})
        assert len(rows) == 16
    factor = {row.row % 2: row.advantage / row.base for row in rows}
    assert factor[1] > 1 > factor[0]
    assert np.mean([row.advantage / row.base for row in rows]) == pytest.approx(1.0)


def test_groups_without_a_gradient_are_replaced_by_further_rounds() -> None:
    desk = planner("dapo")
    first = desk.wanted()
    assert desk.take(first[0].number, arrived(first[0], [1]), {}) == []
    assert desk.take(first[1].number, arrived(first[1], [0, 1]), {}) == []
    more = desk.wanted()
    assert not {w.row for w in more} & {w.row for w in first}
    assert desk.controller.open_tickets == [0]
    rows = [row for w in more for row in desk.take(w.number, arrived(w, [0, 0, 0, 1]), {})]
    assert desk.controller.open_tickets == []
    assert len(rows) == 8 and {row.row for row in rows} == {first[1].row, more[0].row}
    assert {row.group_id for row in rows} == {0, 1}
    for row in rows:
        mean, deviation = (0.5, 0.5) if row.row == first[1].row else (0.25, np.sqrt(3) / 4)
        assert row.advantage == pytest.approx((row.reward - mean) / (deviation + 1e-8))


def test_a_strategy_that_keeps_nothing_does_not_wait_for_ever() -> None:
    desk = planner("speed")  # of two prompts none has room for its continuation
    with pytest.warns(UserWarning, match="of the last 5 plans.*prompts_per_plan"):
        _fail(desk, 5)
    with pytest.raises(StrategyError, match="of the last 100 plans"):
        _fail(desk, 95)


def _fail(desk: Planner, plans: int) -> None:
    end = desk.controller.ledger.closed + plans
    while desk.controller.ledger.closed < end:
        for w in desk.wanted():
            assert desk.take(w.number, arrived(w, [0]), {}) == []


def test_rows_without_a_reward_stay_as_in_trl() -> None:
    desk = planner("uniform", 1)
    (only,) = desk.wanted()
    rewards = arrived(only, [np.nan, 1, 0, np.nan])
    for (row,), advantage in zip(rewards.samples, [0.0, 1.0, -1.0, 0.0], strict=True):
        row.advantage = advantage
    rows = desk.take(only.number, rewards, {})
    assert [row.advantage for row in rows] == [0.0, 1.0, -1.0, 0.0]
    assert desk.controller.ledger.unscored == 2


def test_weights_of_centred_rewards_are_divided_by_nothing() -> None:
    prompt_R, reward_R = np.array([0, 0, 0, 5]), np.array([1.0, 0.0, 0.0, 3.0])
    outcome = Outcome(0, prompt_R, reward_R, reward_R > 0.5)
    weights = Weights(np.ones(4), np.array([True, True, False, True]), scale="none")
    assert advantages(outcome, weights).tolist() == [0.5, -0.5, -0.5, 0.0]
    whole = Weights(np.ones(4), weights.keep_R, "all")
    std = reward_R[:3].std() + 1e-8
    assert advantages(outcome, whole) == pytest.approx([*(reward_R[:3] - 1 / 3) / std, 0.0])


def test_a_resume_offers_what_was_not_trained_on(tmp_path: Path) -> None:
    desk = planner("uniform")
    plans = [desk.wanted() for _ in range(4)]  # 0-1, 2-3, 4-5, 6-7
    for plan in (plans[0], plans[2], plans[1]):
        for w in plan:
            desk.take(w.number, arrived(w, [0, 1]), {})
    desk.save(tmp_path, trained=-1)
    assert read_position(tmp_path) == 0  # nothing was trained on
    desk.save(tmp_path, trained=3)
    assert read_position(tmp_path) == 2  # groups 0 to 3 are those of the first and third plan
    desk.save(tmp_path, trained=5)
    assert read_position(tmp_path) == 6  # the fourth is in flight
    for w in plans[3]:
        desk.take(w.number, arrived(w, [0, 1]), {})
    desk.save(tmp_path, trained=7)
    assert read_position(tmp_path) == 8


@pytest.mark.parametrize("text", ["", "{}", '{"offered": -1}', '{"offered": true}', None])
def test_a_damaged_position_is_one_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "gdro_async.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"gdro_async\.json"):
        read_position(tmp_path)
