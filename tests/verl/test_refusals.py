"""What the adapter refuses before anything is loaded, and how rows are matched with a plan."""

from __future__ import annotations

import inspect
import json
import sys

import numpy as np
import pytest
import torch
import verl.trainer.constants_ppo as verl_constants
from configs import config
from datasets import Dataset
from omegaconf import OmegaConf
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSync

from gdro import Controller, Problem, Request, make_strategy
from gdro.errors import OutcomeError, ProblemError, StrategyError, UnsupportedError
from gdro.integrations.verl import GDROTrainer, queue
from gdro.integrations.verl.options import ESTIMATORS, check_config
from gdro.integrations.verl.prompts import prompts_of, table_of
from gdro.integrations.verl.step import RowScores, VerlStep, outcome_of, rows_of, scale
from gdro.integrations.verl.trainer import _others


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("actor_rollout_ref.rollout.n=1", "2 or more"),
        ("algorithm.adv_estimator=gae", "allowed: grpo"),
        ("++algorithm.filter_groups.enable=true", "filter_groups"),
        ("++trainer.v1.sampler.sync_refill_failed_groups=true", "drops and counts"),
        ("++trainer.v1.sampler.custom_sampler.path=mine.py", "custom_sampler"),
        ("++data.gen_batch_size=3", "train_batch_size"),
        ("++skip.rollout_tq.enable=true", "come from a file"),
        ("+gdro={strategy: reinforce-ada}", "take `dapo` or `speed`"),
        ("+gdro={strategy: popo}", "popo.*holds one success.*`memory`.*TRL"),
        ("+gdro={strategy: rollout-gdro + advantage-replay}", "holds one success of each prompt"),
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
        ("+gdro={strategy: rollout-gdro, options: {n_min: 1}}", "2 or more"),
        ("+gdro={options: {n_min: 3}}", "no part 'n_min'; known: rollout-gdro, memory"),
        ("+gdro.threshold=high", "threshold"),
        ("+gdro.resume=perhaps", "resume"),
        ("+gdro.strategy=rollout-gdro actor_rollout_ref.rollout.n=16", r"rollout-gdro\(n_max=48\)"),
    ],
)
def test_bad_options_are_named(override: str, words: str) -> None:
    overrides = override.split() if " actor" in override else [override]
    with pytest.raises(StrategyError, match=words):
        GDROTrainer(config(*overrides))


def test_extending_strategies_need_rewards_in_time() -> None:
    late = ("+gdro.strategy=dapo", "reward.reward_model.enable=true")
    with pytest.raises(UnsupportedError, match="enable_resource_pool=true"):
        check_config(config(*late), make_strategy("dapo"))
    check_config(config(*late, "reward.reward_model.enable_resource_pool=true"), make_strategy("dapo"))


def test_other_trainers_do_not_ignore_our_options() -> None:
    with pytest.raises(UnsupportedError, match="trainer_mode=gdro"):
        PPOTrainerSync(config("trainer.v1.trainer_mode=colocate_async", "+gdro.strategy=joint"))
    for deprecated in _others()[1:]:
        with pytest.raises(UnsupportedError, match="use_v1=true"):
            deprecated(config("trainer.use_v1=false"), None, {}, None)


def test_a_verl_without_its_deprecated_trainer_is_fine(monkeypatch) -> None:
    module = pytest.importorskip("verl.trainer.ppo.ray_trainer")
    if hasattr(module, "RayPPOTrainer"):
        assert _others() == [PPOTrainer, module.RayPPOTrainer]
        monkeypatch.delattr(module, "RayPPOTrainer")
    assert _others() == [PPOTrainer]
    monkeypatch.setitem(sys.modules, "verl.trainer.ppo.ray_trainer", None)
    assert _others() == [PPOTrainer]


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


def test_a_predictor_reads_texts_and_lists_of_numbers() -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {i}?"}],
            "extra_info": {"index": i, "vector": [float(i), 1.0]},
        }
        for i in (7, 3)
    ]
    names = ("prompt", "extra_info.vector")
    problem = prompts_of(Dataset.from_list(rows), "extra_info.index", None, names).problem
    assert problem.texts == ["What is 7?", "What is 3?"]
    assert problem.columns["extra_info.vector"].tolist() == [[7.0, 1.0], [3.0, 1.0]]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_allowed_estimators_centre_groups_of_any_size(name: str) -> None:
    """Two right of three, one of five: a right answer is above zero, and each group's sum is zero."""
    reward = torch.zeros(8, 3)
    reward[[0, 1, 4], -1] = 1.0
    estimate = get_adv_estimator_fn(name)
    given = {
        "token_level_rewards": reward,
        "response_mask": torch.ones(8, 3),
        "index": np.array(["a"] * 3 + ["b"] * 5, dtype=object),
        "config": OmegaConf.create({"norm_adv_by_std_in_grpo": True}),
    }
    taken = inspect.signature(estimate).parameters
    advantages, _ = estimate(**{key: value for key, value in given.items() if key in taken})
    assert advantages[[0, 1, 4]].min() > 0 > advantages[[2, 3, 5, 6, 7]].max()
    assert advantages[:3].sum().abs() < 1e-4 and advantages[3:].sum().abs() < 1e-4


def test_strategies_of_centred_rewards_need_them_from_verl() -> None:
    maxrl, other = make_strategy("maxrl"), make_strategy("rollout-gdro")
    name, centred = "+gdro.strategy=maxrl", "algorithm.norm_adv_by_std_in_grpo=false"
    with pytest.raises(UnsupportedError, match="norm_adv_by_std_in_grpo=false"):
        check_config(config(name), maxrl)
    with pytest.raises(UnsupportedError, match="adv_estimator=grpo and"):
        check_config(config(name, centred, "algorithm.adv_estimator=rloo"), maxrl)
    check_config(config(name, centred), maxrl)
    check_config(config(), other)


def test_centred_rewards_times_maxrl_s_weights_are_the_paper_s_advantage() -> None:
    """(r - mean) / mean of one right of four and of three right of four, through verl's estimator."""
    c = Controller(make_strategy("maxrl"), Problem(["a", "b"]))
    step = opened(c, [0, 1], 8, "xy")
    keys = [f"{uid}_{session}_0" for uid in "xy" for session in range(4)]
    reward_B = np.array([1, 0, 0, 0, 1, 1, 1, 0], np.float64)
    one = np.ones(8, np.int64)
    step.weigh(c.weigh(step.read(keys, RowScores(reward_B, reward_B > 0, one, one > 0))))
    advantages, _ = get_adv_estimator_fn("grpo")(
        token_level_rewards=torch.tensor(reward_B).unsqueeze(1),
        response_mask=torch.ones(8, 1, dtype=torch.float64),
        index=np.array(["x"] * 4 + ["y"] * 4, dtype=object),
        norm_adv_by_std_in_grpo=False,
    )
    scale(advantages, step.factors(keys))
    paper = [3, -1, -1, -1, 1 / 3, 1 / 3, 1 / 3, -1]
    assert advantages[:, 0].tolist() == pytest.approx(paper, abs=1e-9)


def judged(*reward: float) -> RowScores:
    reward_B = np.array(reward)
    return RowScores(reward_B, reward_B > 2.5, 2 ** np.arange(len(reward)), ~np.isnan(reward_B))


def test_rows_are_matched_by_key_whatever_their_order() -> None:
    """Two outputs of a session are one rollout: the last one's reward, the tokens of both."""
    keys = ["b_1_0", "pad_0_0", "a_0_0", "b_0_1", "a_1_0", "b_0_0"]
    rows = rows_of(keys, ["a", "b"], [10, 11])
    assert rows.prompt_S.tolist() == [10, 10, 11, 11]
    assert rows.row_S.tolist() == [2, 4, 3, 0]
    outcome = outcome_of(0, rows, judged(6.0, 99.0, 1.0, 2.0, 3.0, 99.0))
    assert outcome.reward_R.tolist() == [1.0, 3.0, 2.0, 6.0]
    assert outcome.correct_R.tolist() == [False, True, False, True]
    assert outcome.tokens_R is not None and outcome.tokens_R.tolist() == [4, 16, 40, 1]
    shuffled = [keys[i] for i in (5, 3, 1, 0, 4, 2)]
    assert rows_of(shuffled, ["a", "b"], [10, 11]).prompt_S.tolist() == rows.prompt_S.tolist()


def opened(controller: Controller, prompts: list[int], rollouts: int, uids: str) -> VerlStep:
    step = VerlStep(controller.plan(Request(len(prompts), rollouts, np.array(prompts))))
    step.submit(list(uids), prompts, step.plan.rollouts_P.tolist())
    return step


def test_groups_of_one_are_dropped_and_padding_is_left_alone() -> None:
    """Of one group a single rollout came back, of another none."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "pad_0_0"]
    controller = Controller(make_strategy("uniform"), Problem([str(i) for i in range(12)]))
    step = opened(controller, [10, 11, 7], 9, "abc")
    outcome = step.read(keys, judged(1.0, 1.0, 1.0, 0.0))
    step.weigh(controller.weigh(outcome))
    assert step.factors(keys).tolist() == [1.0, 1.0, 0.0, 1.0]
    assert step.counts(keys) == {"dropped_groups": 2, "missing": 6, "padding": 1}
    controller.observe(outcome)
    assert controller.ledger.missing == 6


def test_a_group_with_a_reward_that_is_no_number_is_dropped_and_counted() -> None:
    controller = Controller(make_strategy("uniform"), Problem(list("abc")))
    step = opened(controller, [0, 1], 4, "ab")
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    outcome = step.read(keys, judged(np.nan, 3.0, 1.0, 3.0))
    assert outcome.valid_mask_R.tolist() == [False, True, True, True]
    step.weigh(controller.weigh(outcome))
    advantages = torch.tensor([[np.nan], [np.nan], [-0.7], [0.7]])
    scale(advantages, step.factors(keys))
    assert advantages.flatten().tolist() == pytest.approx([0.0, 0.0, -0.7, 0.7])
    assert step.counts(keys)["dropped_groups"] == 1


def test_a_rollout_without_a_verdict_trains_and_moves_no_belief(monkeypatch) -> None:
    """The key that says what is right holds None for another task."""
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    extras = [{"acc": None}, {"acc": None}, {"acc": True}, {"acc": 0}]
    rows = [{"reward_extra_info": extra} for extra in extras]
    monkeypatch.setattr(queue.tq, "kv_batch_get", lambda **_: {"extra_fields": rows})
    acc_B = queue.reward_extra(queue.reward_extras(keys), "acc")
    rewards = np.array([0.2, 0.7, 1.0, 0.0])
    controller = Controller(make_strategy("uniform"), Problem(list("abc")))
    step = opened(controller, [0, 1], 4, "ab")
    outcome = step.read(keys, RowScores(rewards, acc_B > 0.5, np.ones(4, int), ~np.isnan(acc_B)))
    step.weigh(controller.weigh(outcome))
    assert step.factors(keys).tolist() == [1.0] * 4
    controller.observe(outcome)
    assert controller.belief.visits_N.tolist() == [0, 1, 0]
    extras[3]["acc"] = "no"
    with pytest.raises(OutcomeError, match=r"\+gdro.correct=acc: a rollout's 'acc' is no number"):
        queue.reward_extra(queue.reward_extras(keys), "acc")


def test_answers_that_the_verifier_did_not_judge_are_counted_once_a_session(monkeypatch) -> None:
    """Outputs of a session share its result, padding repeats others; other rewards have no counts."""
    keys = ["a_0_0", "a_0_1", "a_1_0", "b_0_0", "b_1_0", "pad_0_0"]
    one, none = ({"reward_timeouts": n, "reward_crashes": 0.0} for n in (1.0, 0.0))
    rows = [{"reward_extra_info": extra} for extra in (one, one, none, one, {}, one)]
    monkeypatch.setattr(queue.tq, "kv_batch_get", lambda **_: {"extra_fields": rows})
    counts = queue.reward_counts(queue.reward_extras(keys))
    assert {name: count_B.tolist() for name, count_B in counts.items()} == {
        "reward_timeouts": [1, 1, 0, 1, 0, 1],
        "reward_crashes": [0] * 6,
    }
    controller = Controller(make_strategy("uniform"), Problem(list("abc")))
    step = opened(controller, [0, 1], 4, "ab")
    rewards, ones = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.0]), np.ones(6, int)
    outcome = step.read(keys, RowScores(rewards, rewards > 0.5, ones, ones > 0, counts))
    step.weigh(controller.weigh(outcome))
    logged = step.counts(keys)
    assert logged["reward_timeouts"] == 2 and logged["reward_crashes"] == 0
    assert queue.reward_counts([{}, {"acc": 1.0}]) == {}


def test_rollouts_of_further_rounds_join_their_group_and_the_total_stays() -> None:
    """Prompts a and b of two rollouts; dapo drops b, for all are wrong, and asks for fresh prompts."""
    controller = Controller(make_strategy("dapo"), Problem(list("abcdef")))
    step = opened(controller, [0, 1], 4, "ab")
    keys = ["a_0_0", "a_1_0", "b_0_0", "b_1_0"]
    extension = controller.extend(step.read(keys, judged(1.0, 3.0, 1.0, 1.0)))
    assert extension is not None and len(extension.prompt_P) == 2
    step.submit(["c", "d"], extension.prompt_P.tolist(), extension.rollouts_P.tolist())
    keys += ["d_0_0", "d_1_0", "c_0_0", "c_1_0"]
    outcome = step.read(keys, judged(1.0, 3.0, 1.0, 1.0, 3.0, 1.0, 1.0, 3.0))
    assert controller.extend(outcome) is None
    step.weigh(controller.weigh(outcome))
    kept = step.loss_keys()
    assert kept == ["a_0_0", "a_1_0", "c_0_0", "c_1_0"] and step.first_uid == {}
    assert step.factors([*kept, "pad_0_0"]).tolist() == [1.0] * 5
    step.submit(["again"], [0], [2])
    assert step.first_uid == {"again": "a"}


class WithRows(list[dict[str, str]]):
    """A dataset of the user's own that has them."""

    def __init__(self, dataframe: Dataset) -> None:
        super().__init__(dataframe)
        self.dataframe = dataframe


def test_a_dataset_without_its_rows_is_refused() -> None:
    table = Dataset.from_list([{"prompt": "a"}])
    assert table_of(WithRows(table)) is table
    with pytest.raises(ProblemError, match="custom_cls"):
        table_of([{"prompt": "a"}])


def test_workers_of_a_cluster_that_runs_already_learn_of_the_plugin() -> None:
    given = verl_constants.get_ppo_ray_runtime_env(None)["env_vars"]
    assert given["VERL_USE_EXTERNAL_MODULES"] == "gdro.dry_run.verl.cpu,gdro.integrations.verl"
    assert given["VERL_PLATFORM"] == "cpu" and "NCCL_DEBUG" in given


def test_what_a_job_was_given_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ray job submit --runtime-env-json` has it; of equal names Ray takes none."""
    from ray.runtime_env.runtime_env import _merge_runtime_env  # Ray's own, and may move

    job = {"env_vars": {"VERL_USE_EXTERNAL_MODULES": "gdro.integrations.verl"}}
    for known in (job, {}):
        text = json.dumps({"runtime_env": known, "metadata": {}})
        monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, text)
        given = verl_constants.get_ppo_ray_runtime_env(None)
        merged = _merge_runtime_env(known, {"env_vars": given["env_vars"]})
        assert merged is not None and merged["env_vars"]["VERL_PLATFORM"] == "cpu"
        assert "gdro.integrations.verl" in merged["env_vars"]["VERL_USE_EXTERNAL_MODULES"]
