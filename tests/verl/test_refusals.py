"""What the adapter refuses before anything is loaded, and how rows are matched with a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hydra import compose, initialize_config_dir
from verl.trainer.ppo.v1 import PPOTrainerSync

import verl
from gdro import Controller, Problem, Request, make_strategy
from gdro.errors import OutcomeError, ProblemError, StrategyError, UnsupportedError
from gdro.integrations.verl import GDROTrainer
from gdro.integrations.verl.prompts import prompts_of
from gdro.integrations.verl.step import factors, outcome_of, rows_of
from gdro.types import Plan

CONFIGS = Path(verl.__file__).parent / "trainer/config"


def config(*overrides: str):
    wanted = ["trainer.v1.trainer_mode=gdro", "actor_rollout_ref.rollout.n=4",
              "algorithm.adv_estimator=grpo", *overrides]  # fmt: skip
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return compose("ppo_trainer", wanted)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("actor_rollout_ref.rollout.n=1", "2 or more"),
        ("algorithm.adv_estimator=gae", "allowed: grpo"),
        ("++algorithm.filter_groups.enable=true", "filter_groups"),
        ("++trainer.v1.sampler.sync_refill_failed_groups=true", "drops and counts"),
        ("++trainer.v1.sampler.custom_sampler.path=mine.py", "custom_sampler"),
        ("++data.gen_batch_size=3", "train_batch_size"),
        ("+gdro={strategy: dapo}", "further rollouts"),
        ("+gdro={strategy: memory}", "memory"),
        ("+gdro={strategy: prompt-gdro, options: {signal: surrogate}}", "signal=failure"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(override: str, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        GDROTrainer(config(override))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+gdro.strategi=joint", "allowed: .*gdro.strategy"),
        ("+gdro.strategy=misspelt", "misspelt"),
        ("+gdro={options: {n_min: 1}}", "2 or more"),
        ("+gdro.threshold=high", "threshold"),
    ],
)
def test_bad_options_are_named(override: str, words: str) -> None:
    with pytest.raises(StrategyError, match=words):
        GDROTrainer(config(override))


def test_other_modes_do_not_ignore_our_options() -> None:
    with pytest.raises(UnsupportedError, match="trainer_mode=gdro"):
        PPOTrainerSync(config("trainer.v1.trainer_mode=colocate_async", "+gdro.strategy=joint"))


@pytest.mark.parametrize(
    ("infos", "words"),
    [
        ([{"index": 0}, {"index": 0}], "more than once"),
        ([{"split": "train"}, {"split": "train"}], "empty in row 0"),
        ([{"index": 3}, {"index": None}], "empty in row 1"),
    ],
)
def test_ids_that_tell_nothing_apart_are_refused(infos: list, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        prompts_of(
            Dataset.from_list([{"extra_info": info} for info in infos]), "extra_info.index", None, ()
        )
    with pytest.raises(ProblemError, match=r"\+gdro.id"):
        prompts_of(Dataset.from_list([{"prompt": "a"}]), "extra_info.index", None, ())


def test_ids_priors_and_columns_are_read() -> None:
    rows = [{"extra_info": {"index": i, "rate": r}, "level": i} for i, r in ((7, 0.5), (3, None))]
    found = prompts_of(Dataset.from_list(rows), "extra_info.index", "extra_info.rate", ("level",))
    assert found.problem.prompt_keys == ("7", "3")
    assert found.problem.prior_N is not None and found.problem.prior_N[0] == 0.5
    assert np.isnan(found.problem.prior_N[1])
    assert found.problem.columns["level"].tolist() == [7, 3]
    batch = {"extra_info": [{"index": 3}, {"index": 7}]}
    assert found.rows(batch).tolist() == [1, 0]
    with pytest.raises(ProblemError, match="did not have at start"):
        found.rows({"extra_info": [{"index": 4}]})


def plan_of(*rollouts: int) -> Plan:
    count = len(rollouts)
    return Plan(0, np.arange(count) + 10, np.array(rollouts), np.full(count, -1))


def test_rows_are_matched_by_key_whatever_their_order() -> None:
    """Two outputs of a session are one rollout: the last one's reward, the tokens of both."""
    keys = ["b_1_0", "pad_0_0", "a_0_0", "b_0_1", "a_1_0", "b_0_0"]
    plan, groups = plan_of(2, 2), {"a": 0, "b": 1}
    rows = rows_of(keys, groups, plan)
    assert rows.prompt_S.tolist() == [10, 10, 11, 11]
    assert rows.row_S.tolist() == [2, 4, 3, 0]
    reward = np.array([6.0, 99.0, 1.0, 2.0, 3.0, 99.0])
    outcome = outcome_of(plan, rows, reward, reward > 2.5, np.array([1, 50, 2, 4, 8, 16]))
    assert outcome.reward_R.tolist() == [1.0, 3.0, 2.0, 6.0]
    assert outcome.tokens_R is not None and outcome.tokens_R.tolist() == [2, 8, 20, 1]
    shuffled = [keys[i] for i in (5, 3, 1, 0, 4, 2)]
    assert rows_of(shuffled, groups, plan).prompt_S.tolist() == rows.prompt_S.tolist()


def test_groups_of_one_are_dropped_and_padding_is_left_alone() -> None:
    """Of one group a single rollout came back, of another none."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "pad_0_0"]
    controller = Controller(make_strategy("uniform"), Problem([str(i) for i in range(12)]))
    made = controller.plan(Request(3, 9, np.array([10, 11, 7])))
    rows = rows_of(keys, {"a": 0, "b": 1}, made)
    outcome = outcome_of(made, rows, np.ones(4), np.ones(4, bool), np.ones(4, np.int64))
    factor, dropped = factors(made, rows, controller.weigh(outcome))
    assert factor.tolist() == [1.0, 1.0, 0.0, 1.0] and dropped == 2
    controller.observe(outcome)
    assert controller.ledger.missing == 6


def test_a_reward_that_is_no_number_is_counted_not_trained_on() -> None:
    plan = plan_of(2)
    rows = rows_of(["a_0_0", "a_1_0"], {"a": 0}, plan)
    outcome = outcome_of(plan, rows, np.array([np.nan, 1.0]), np.array([False, True]), np.ones(2, int))
    assert outcome.valid_mask_R.tolist() == [False, True]
    with pytest.raises(OutcomeError):
        outcome_of(plan, rows, np.ones(2), np.array([0.5, 1.0]), np.ones(2, int))
