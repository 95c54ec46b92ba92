"""verl's asynchronous modes without Ray: its real trainers and replay buffer, over stand-ins."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from configs import config
from hypothesis import given
from hypothesis import strategies as st
from loops import CLASSES, made, train

from gdro import make_strategy
from gdro.errors import UnsupportedError
from gdro.integrations.verl import GDROTrainer
from gdro.integrations.verl.asynchronous import group_of, once_each
from gdro.integrations.verl.mini_batches import MiniBatches, micro_limits
from gdro.integrations.verl.options import check_config

MODES = pytest.mark.parametrize("mode", ["colocate", "separate"])
SELECTS = "failure-sampling + rollout-gdro"


@pytest.mark.parametrize(("mode", "parts"), [("colocate", 1), ("colocate", 2), ("separate", 1)])
def test_rows_are_what_was_allocated_whatever_the_batch_s_size(
    mode: str, parts: int, monkeypatch
) -> None:
    """Half a batch in flight, an agent loop that fails: batches are parts of several allocations."""
    several = f"actor_rollout_ref.actor.ppo_mini_batch_size={8 // parts}"
    m = made(monkeypatch, mode, SELECTS, *([several] if parts > 1 else []))
    m.loops.failing = {3}
    m.trainer._add_async_warmup_batches(0.5)
    sizes, num = [], 1 if mode == "colocate" else 2
    for _ in range(6):
        metrics, batch = train(m)
        real = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if "is_padding" not in tag]
        assert len({key.split("_")[0] for key in real}) == 8
        padding = len(batch.keys) - len(real)
        assert padding == metrics["gdro/padding"]
        most = len(real) / 4 + 2 * num * parts
        assert padding <= most, "less than a row for each micro-batch of four"
        sizes.append(len(real))
    updates, ledger = m.workers.updates, m.trainer.controller.ledger
    assert len(updates) == 6 * num and sum(u["real"] for u in updates) == sum(sizes)
    assert len(set(sizes)) > 1 and 8 * 4 * 6 - 40 < sum(sizes) < 8 * 4 * 6 + 40
    assert all(parts * update["mini"] == update["rows"] for update in updates), "optimizer steps"
    open_groups = m.trainer.controller.open_groups
    assert ledger.rollouts == sum(sizes) and ledger.missing == 0 and ledger.evicted > 0
    assert ledger.planned == ledger.rollouts + ledger.evicted + open_groups.rollouts_P.sum()
    assert len(open_groups.group_P) == 4 and m.trainer.controller.belief.visits_N[3] == 0
    assert metrics["gdro/total_rollouts"] == ledger.rollouts, "not added up over the updates of a step"
    assert ledger.plans == ledger.closed == 6 * num


@MODES
def test_equal_groups_are_cut_as_stock_verl_cuts_them(mode: str, monkeypatch) -> None:
    m = made(monkeypatch, mode, "uniform")
    m.trainer._add_async_warmup_batches(1)
    for _ in range(3):
        metrics, _ = train(m)
        assert metrics["gdro/padding"] == 0
    rows = 32 if mode == "colocate" else 16
    assert m.workers.updates == [{"rows": rows, "real": rows, "mini": rows}] * (96 // rows)
    assert m.trainer.config.actor_rollout_ref.rollout.n == 4
    prompts = [index for index, _ in m.loops.asked]
    assert prompts == [i % 24 for i in range(32)], "the loader's order"


def test_weights_of_an_update_are_put_back_before_the_next(monkeypatch) -> None:
    """The version of the weights that is kept for log-probabilities is verl's own business."""
    m = made(monkeypatch, "separate", "rollout-gdro")
    train(m)
    assert m.workers.weights == ["save 0", "save 1", "restore 0", "restore 1", "clear 1"]


def test_a_batch_that_spans_two_epochs_holds_a_prompt_twice(monkeypatch) -> None:
    m = made(monkeypatch, "colocate", "rollout-gdro", num=12)
    train(m), train(m)
    assert m.trainer.controller.belief.visits_N.tolist() == [2] * 4 + [1] * 8
    assert m.trainer.controller.ledger.duplicates == 0
    few = made(monkeypatch, "colocate", "rollout-gdro", num=6)
    train(few)
    assert few.trainer.controller.ledger.duplicates == 2
    assert few.trainer.controller.ledger.rollouts == 32
    assert few.trainer.controller.belief.visits_N.tolist() == [1] * 6


def test_two_groups_of_a_prompt_are_compared_apart_as_in_stock_verl(monkeypatch) -> None:
    m = made(monkeypatch, "colocate", "uniform", num=6)
    seen: list[dict[str, str]] = []
    weigh = m.trainer._weigh

    def watched(data, keys):
        seen.append(m.trainer._opened.first_uid)
        assert len(set(data.non_tensor_batch["uid"])) == 8
        return weigh(data, keys)

    m.trainer._weigh = watched
    metrics, _ = train(m)
    assert seen == [{}] and metrics["gdro/dropped_groups"] == 0


def test_stale_groups_are_evicted_counted_and_replaced(monkeypatch) -> None:
    m = made(monkeypatch, "colocate", SELECTS, "trainer.v1.sampler.max_off_policy_threshold=1")
    m.trainer._add_async_warmup_batches(1)
    train(m)
    assert m.trainer.controller.ledger.evicted == 0
    metrics, _ = train(m)
    assert metrics["gdro/total_evicted"] == 32 == m.trainer.controller.ledger.evicted
    assert metrics["training/off_policy/evicted_samples"] == 8
    assert m.trainer.controller.belief.visits_N.sum() <= 16


def resumed(monkeypatch, m, *options: str, fresh: bool = False):
    """The trainer of another process, over the queue and the controller of a checkpoint."""
    again = made(monkeypatch, "colocate", SELECTS, *options, rows=copy.deepcopy(m.queue))
    again.trainer._restored_tq_prompt_count = sum("is_prompt" in tag for tag in m.queue.tags.values())
    state = m.trainer.controller.state_dict()

    def load(self) -> None:
        if not fresh:
            self.controller.load_state_dict(state)

    monkeypatch.setattr("gdro.integrations.verl.trainer.Controlled._load_controller", load)
    again.trainer._load_controller()
    return again


def test_a_resumed_run_goes_on_with_the_groups_in_flight(monkeypatch) -> None:
    """What is answered trains as it is; what is not is answered again, with as many rollouts."""
    m = made(monkeypatch, "colocate", SELECTS)
    m.trainer._add_async_warmup_batches(2)
    train(m)
    waiting = m.trainer.controller.open_groups
    uid = next(key for key, tag in m.queue.tags.items() if "is_prompt" in tag)
    m.queue.tags[uid]["status"] = "running"
    m.queue.rows["of-a-trained-step_0_0"] = {}
    m.queue.tags["of-a-trained-step_0_0"] = {"status": "success"}
    again = resumed(monkeypatch, m)
    assert again.trainer.controller.digest() == m.trainer.controller.digest()
    assert "of-a-trained-step_0_0" not in again.queue.tags
    assert again.trainer._restored_tq_prompt_count == len(waiting.group_P) == 16
    assert again.trainer._reissue_inflight_prompts() == 1
    place = int(np.flatnonzero(waiting.group_P == group_of(uid))[0])
    assert again.loops.asked == [(waiting.prompt_P[place], waiting.rollouts_P[place])]
    again.trainer._add_async_warmup_batches(2)
    assert len(again.loops.asked) == 1, "the window is full"
    train(again)
    assert again.trainer.controller.ledger.evicted == 0


@pytest.mark.parametrize("fresh", [True, False])
def test_groups_that_only_one_side_has_are_dropped(fresh: bool, monkeypatch) -> None:
    """A fresh controller, a queue of stock verl's, and groups that the queue has lost."""
    m = made(monkeypatch, "colocate", SELECTS)
    m.trainer._add_prompts_to_generate(8)
    first, second, *_ = [key for key, tag in m.queue.tags.items() if "is_prompt" in tag]
    lost = [key for key in m.queue.tags if key.split("_")[0] == first]
    m.queue.kv_clear(lost, "train")
    m.queue.tags["stock"] = {"is_prompt": True, "status": "finished", "global_steps": 1}
    again = resumed(monkeypatch, m, fresh=fresh)
    left = [key for key, tag in again.queue.tags.items() if "is_prompt" in tag]
    assert ("stock" in left, second in left) == (False, not fresh)
    assert again.trainer._restored_tq_prompt_count == len(left) == (0 if fresh else 7)
    assert len(again.trainer.controller.open_groups.group_P) == len(left)
    assert (again.trainer.controller.ledger.evicted > 0) == (not fresh)
    train(again)


def test_a_synchronous_run_gives_up_what_an_asynchronous_one_had_in_flight(monkeypatch) -> None:
    m = made(monkeypatch, "colocate", SELECTS)
    m.trainer._add_prompts_to_generate(8)
    monkeypatch.setattr("gdro.integrations.verl.trainer.Controlled._load_controller", lambda self: None)
    again = object.__new__(GDROTrainer)
    again.controller = m.trainer.controller
    again._load_controller()
    assert not len(again.controller.open_groups.group_P) and again.controller.ledger.evicted == 32


@MODES
def test_shadow_mode_plans_evenly_and_learns(mode: str, monkeypatch) -> None:
    m = made(monkeypatch, mode, SELECTS, apply=False)
    m.trainer._add_async_warmup_batches(1)
    for _ in range(2):
        train(m)
    assert {num for _, num in m.loops.asked} == {4}
    assert m.trainer.controller.belief.visits_N.sum() == 16


@given(
    rows=st.integers(1, 400),
    ranks=st.integers(1, 8),
    num=st.integers(1, 4),
    most=st.none() | st.tuples(st.integers(1, 40), st.integers(1, 80), st.integers(1, 80)),
)
def test_batches_are_cut_into_whole_micro_batches(rows, ranks, num, most) -> None:
    """What verl's engines demand, with less than a row of padding for each micro-batch."""
    limits = {} if most is None else dict(zip(("update", "log_prob", "reference"), most, strict=True))
    cut = MiniBatches.of(rows, ranks, num, limits)
    assert cut.rows == num * cut.mini >= rows and cut.mini % ranks == 0
    share = cut.mini // ranks
    micros = 1 if most is None else -(-share // min(most))
    assert cut.rows - rows < ranks * num * max(1, micros)
    for name, limit in limits.items():
        micro = cut.micro_of[name]
        assert 1 <= micro <= limit
        assert (share if name == "update" else num * share) % micro == 0
        assert micro > 1 or limit == 1 or share < 4 or min(most) < 3, "not one row at a time"


def test_limits_of_micro_batches_are_verl_s() -> None:
    sizes = (
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=3",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=5",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=7",
    )
    assert micro_limits(config(*sizes), True) == {"update": 3, "log_prob": 5, "reference": 7}
    assert micro_limits(config(*sizes), False) == {"update": 3, "log_prob": 5}
    assert micro_limits(config("actor_rollout_ref.actor.use_dynamic_bsz=true"), True) == {}


def test_parts_of_a_batch_hold_a_prompt_once() -> None:
    prompt_P = np.array([4, 7, 4, 9, 4, 7, 7])
    parts = [part.tolist() for part in once_each(prompt_P, 5)]
    assert parts == [[0, 1, 3], [2], [4], [5], [6]]
    assert group_of("6f1c-g12") == 12 and group_of("6f1c-4da1") == group_of("6f1c-gx") == -1


@pytest.mark.parametrize(
    ("mode", "override", "words"),
    [
        (
            "colocate",
            "+gdro.strategy=dapo",
            "what has finished.*rollout-gdro, or trainer.v1.trainer_mode",
        ),
        ("separate", "+gdro.strategy=speed", "further rollouts"),
        ("colocate", "critic.enable=true", "leave the critic out"),
        ("separate", "++trainer.v1.sampler.custom_sampler.path=mine.py", "custom_sampler"),
        ("colocate", "++algorithm.filter_groups.enable=true", "filter_groups"),
        ("colocate", "+gdro={strategy: prompt-gdro, options: {signal: surrogate}}", "signal=failure"),
    ],
)
def test_what_cannot_be_asynchronous_is_refused_with_the_fix(
    mode: str, override: str, words: str
) -> None:
    given = config(f"trainer.v1.trainer_mode=gdro_{mode}_async", override)
    with pytest.raises(UnsupportedError, match=rf"`gdro_{mode}_async` cannot take .*{words}"):
        CLASSES[mode](given)


def test_verl_sets_the_loader_s_batch_itself() -> None:
    """It overrides data.gen_batch_size with a warning in asynchronous modes."""
    check_config(config("++data.gen_batch_size=3"), make_strategy("uniform"), "colocate_async")
