"""Memory, counts and further rounds in every mode of verl's trainers, over stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from configs import config
from loops import Rows, made, train
from verl.trainer.ppo.v1 import PPOTrainer

from gdro.dry_run.verl.quickstart import prepare
from gdro.integrations.verl import GDROTrainer

MODES = pytest.mark.parametrize("mode", ["sync", "colocate", "separate"])
STEPS, WRONG_FROM = 9, 5


def steps_of(m: SimpleNamespace, mode: str) -> list[tuple[dict[str, float], list[dict[str, Any]]]]:
    """Metrics of each step, and the rows of each of its updates; late answers are all wrong."""
    if mode != "sync":
        m.trainer._add_async_warmup_batches(0.5)
    found = []
    for number in range(STEPS):
        m.loops.version, m.loops.wrong = number, number >= WRONG_FROM
        seen = len(m.workers.trained)
        metrics, _ = train(m)
        found.append((metrics, m.workers.trained[seen:]))
    return found


@MODES
def test_recalled_rows_are_earlier_successes(mode: str, monkeypatch) -> None:
    """Tokens, log-probabilities, advantages and ages of each; metrics count them once."""
    m = made(monkeypatch, mode, "rollout-gdro + memory(anchors=3, anchor_advantage=0.5)")
    replays = anchors = 0
    for metrics, updates in steps_of(m, mode):
        assert len(updates) == (2 if mode == "separate" else 1)
        here = {"replay": 0, "anchor": 0}
        for key, row in ((key, row) for rows in updates for key, row in rows.items()):
            index = row["extra_info"]["index"]
            if key in m.loops.answers:
                assert m.loops.answers[key]["extra_info"]["index"] == index
                continue
            answers = [
                (other["responses"].tolist(), m.loops.versions[key])
                for key, other in m.loops.answers.items()
                if other["extra_info"]["index"] == index and other["rm_scores"].sum() == 1
            ]
            assert (row["responses"].tolist(), row["tag"]["min_global_steps"]) in answers
            assert row["prompts"].tolist() == [index, 1]
            assert row["rm_scores"].tolist() == [0] * (len(row["responses"]) - 1) + [1]
            assert row["rollout_log_probs"].tolist() == row["old_log_probs"].tolist()
            assert row["old_log_probs"].abs().sum() > 0
            group = [r for rows in updates for r in rows.values() if r["uid"] == row["uid"]]
            kind = "anchor" if len(group) == 1 else "replay"
            here[kind] += 1
            if kind == "anchor":
                assert row["advantages"].tolist() == [0.5] * len(row["responses"])
            else:
                assert (row["advantages"] > 0).all() and all(
                    (other["advantages"] < 0).all() for other in group if other is not row
                )
        assert here == {
            "replay": metrics["gdro/memory_replays"],
            "anchor": metrics["gdro/memory_anchors"],
        }
        replays, anchors = replays + here["replay"], anchors + here["anchor"]
    assert replays > 3 and anchors > 3
    ledger = m.trainer.controller.ledger
    rows = sum(len(rows) for rows in m.workers.trained)
    assert ledger.rollouts == rows, "a recalled row takes the place of another"


def test_the_store_has_the_bounds_of_the_options(monkeypatch, tmp_path) -> None:
    """Bytes and age as given, from the first step on."""
    bounds = ("+gdro.memory_bytes=60", "+gdro.options.memory.max_age=1")
    given = config(*prepare(tmp_path, train_size=8), *bounds)
    trainer = GDROTrainer(given)
    monkeypatch.setattr(PPOTrainer, "_init_dataloader", lambda self: None)
    trainer.train_dataset = Rows(24)
    trainer._init_dataloader()
    assert trainer._memory is not None
    m = made(monkeypatch, "sync", "uniform + memory")
    trainer._memory._trainer, m.trainer._memory = m.trainer, trainer._memory
    for number in range(4):
        m.loops.version, m.loops.wrong = number, number > 0
        metrics, _ = train(m)
        assert metrics["gdro/memory_bytes"] <= 60
        assert (metrics["gdro/memory_rollouts"] > 0) == (number < 2), "of the first step"


def test_a_success_of_older_weights_replaces_none_of_newer(monkeypatch) -> None:
    m = made(monkeypatch, "colocate", "uniform + memory", num=8)
    for version, kept in ((5, 6), (3, 6), (7, 8)):
        m.loops.version = version
        train(m)
        assert {group[0].step for group in m.trainer._memory.store.rollouts.values()} == {kept}


@MODES
def test_counts_of_the_reward_function_are_those_of_the_step(mode: str, monkeypatch) -> None:
    m = made(monkeypatch, mode, "uniform")
    m.loops.extra = {"reward_timeouts": 1}
    for _ in range(2):
        metrics, _ = train(m)
        assert metrics["gdro/reward_timeouts"] == 32 and "gdro/reward_crashes" not in metrics


@pytest.mark.parametrize("strategy", ["dapo", "speed"])
def test_further_rounds_and_a_memory_fill_one_batch(strategy: str, monkeypatch) -> None:
    m = made(monkeypatch, "sync", f"{strategy} + memory(anchors=3)")
    joined = 0.0
    for metrics, (rows,) in steps_of(m, "sync"):
        assert len(rows) == 32
        assert sum(key not in m.loops.answers for key in rows) == (
            metrics["gdro/memory_replays"] + metrics["gdro/memory_anchors"]
        )
        joined += metrics["gdro/memory_row_share"]
    assert (joined > 0) == (strategy == "speed"), "groups that dapo drops are not open to replays"
    assert not m.queue.rows, "rows that did not fit are deleted"
    ledger = m.trainer.controller.ledger
    assert ledger.rollouts == ledger.planned == len(m.loops.answers)


@pytest.mark.parametrize("strategy", ["uniform", "uniform + memory"])
def test_rejected_tokens_were_generated(strategy: str, monkeypatch) -> None:
    """verl's rejection takes them out of the mask, not out of what the run has cost."""
    options = ("rollout_rs=token_k1", "rollout_rs_threshold=0.99_1.01")
    given = [f"algorithm.rollout_correction.{option}" for option in options]
    m = made(monkeypatch, "sync", strategy, *given)
    metrics, _ = train(m)
    (rows,) = m.workers.trained
    left = sum(float(row["response_mask"].sum()) for row in rows.values())
    tokens = sum(len(row["responses"]) for row in m.loops.answers.values())
    assert metrics["gdro/total_tokens"] == tokens > left
