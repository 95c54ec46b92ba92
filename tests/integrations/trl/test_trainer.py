"""GDROTrainer in real trainings: ragged groups, features of GRPOTrainer, every strategy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from trl import GRPOTrainer

from gdro import StrategyError, default_strategy, make_strategy
from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROTrainer, checks
from gdro.integrations.trl.advantages import Ragged, advantages
from gdro.log.run_log import read_jsonl
from gdro.report.diagnose import read_rewards

ROOT = Path(__file__).parents[3]


def make(strategy: Any = "rollout-gdro", *, data: Any = None, rewards: Any = None, **kw: Any):
    trainer_args = {
        k: kw.pop(k)
        for k in (
            "id_column",
            "correct",
            "prompt_equal",
            "strategy_options",
            "peft_config",
            "eval_dataset",
            "controller",
            "apply",
            "prior_column",
        )
        if k in kw
    }
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=rewards or tiny.lucky,
        args=tiny.config(**kw),
        train_dataset=data or tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=None if "controller" in trainer_args else strategy,
        **trainer_args,
    )


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    scale=st.sampled_from(["group", "batch", "none"]),
    holes=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_ragged_advantages_equal_brute_force(sizes, seed, scale, holes) -> None:
    rng = np.random.default_rng(seed)
    reward_R = rng.normal(size=sum(sizes))
    if holes:
        reward_R[rng.random(len(reward_R)) < 0.2] = np.nan
    layout = Ragged.of(torch.tensor(sizes))
    rewards = torch.tensor(reward_R[:, None])
    got, _, _ = advantages(rewards, layout, torch.ones(1), scale, "sum_then_normalize")
    start = 0
    batch_std = np.nanstd(reward_R, ddof=1) if (~np.isnan(reward_R)).sum() > 1 else np.nan
    for size in sizes:
        x = reward_R[start : start + size]
        known = x[~np.isnan(x)]
        for i, value in enumerate(x):
            want = value - known.mean() if len(known) else np.nan
            if scale == "group":
                want /= (known.std(ddof=1) if len(known) > 1 else np.nan) + 1e-4
            if scale == "batch":
                want /= batch_std + 1e-4
            want = 0.0 if np.isnan(want) else want
            assert got[start + i].item() == pytest.approx(want, abs=1e-6)
        start += size


def test_every_row_belongs_to_its_prompt_and_rows_are_constant() -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def spy(prompts, completions, answer, **_):
        seen.append((list(prompts), list(answer)))
        return tiny.lucky(completions, answer)

    trainer = make("rollout-gdro", rewards=spy, max_steps=12, id_column="id")
    rows = {r["prompt"]: r["answer"] for r in tiny.dataset()}
    plans = []
    original = trainer.controller.plan
    trainer.controller.plan = lambda request: plans.append(original(request)) or plans[-1]
    trainer.train()
    assert len(seen) == len(plans) == 12
    for (prompts, answers), plan in zip(seen, plans, strict=True):
        assert len(prompts) == 16 == plan.rollouts_P.sum()
        assert [f"{i // 10}{i % 10}+a=" for i in plan.prompt_R] == prompts
        assert [rows[p] for p in prompts] == answers
    assert max(p.rollouts_P.max() for p in plans) > 4, "allocation never left uniform"


def test_resample_draws_other_prompts_than_offered() -> None:
    trainer = make("prompt-gdro", strategy_options={"mode": "resample"}, max_steps=6)
    trainer.train()
    assert trainer.controller.ledger.rollouts == 96


@pytest.mark.parametrize(
    "options",
    [
        {"num_iterations": 2},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
        {"num_iterations": 2, "steps_per_generation": 2, "per_device_train_batch_size": 8},
    ],
)
def test_surrogate_losses_come_by_ticket_after_the_update(options: dict[str, Any]) -> None:
    strategy = make_strategy("prompt-gdro", signal="surrogate")
    trainer = make(strategy, max_steps=8, **options)
    trainer.train()
    ledger = trainer.controller.ledger
    assert ledger.closed + ledger.abandoned == ledger.plans
    assert ledger.closed >= ledger.plans - 1 >= 1
    assert trainer.controller.open_tickets == []
    score = trainer.controller.state_dict()["arrays"]["strategy/score_B"]
    assert np.isfinite(score).all()


def test_surrogate_is_refused_where_losses_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Liger's loss in TRL 1.12 and 1.13, or a loss of one's own: no plan is abandoned in silence."""
    surrogate = make_strategy("prompt-gdro", signal="surrogate")
    monkeypatch.setattr(GRPOTrainer, "compute_liger_loss", None, raising=False)
    with monkeypatch.context() as patched:
        patched.setattr(checks, "check_config", lambda args: setattr(args, "use_liger_kernel", True))
        with pytest.raises(UnsupportedError, match=r"signal='surrogate'.*use_liger_kernel=False"):
            make(surrogate)
        make("prompt-gdro")

    class Own(GDROTrainer):
        def _compute_loss(self, model, inputs):
            self._get_per_token_logps_and_entropies = self._unseen
            return super()._compute_loss(model, inputs)

        def _unseen(self, *args, **kwargs):
            return GRPOTrainer._get_per_token_logps_and_entropies(self, *args, **kwargs)

    own = Own(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=surrogate,
    )
    with pytest.raises(UnsupportedError, match=r"loss took none through _get_per_token_logps"):
        own.train()


def test_surrogate_is_zero_on_policy() -> None:
    trainer = make(make_strategy("prompt-gdro", signal="surrogate"), max_steps=3)
    trainer.train()
    score = trainer.controller.state_dict()["arrays"]["strategy/score_B"]
    assert np.abs(score).max() < 1e-5


def test_lora_eval_and_log_completions(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make(
        "joint",
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]),
        max_steps=4,
        eval_dataset=tiny.dataset(8),
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=8,
        log_completions=True,
    )
    trainer.train()
    assert any("eval_reward" in h for h in trainer.state.log_history)
    assert trainer.controller.ledger.rollouts == 64, "evaluation must not touch the controller"
    assert len(trainer._logs["advantages"]) == len(trainer._logs["prompt"]) == 16
    log = Path(trainer.args.output_dir) / "gdro"
    prompts = {r["key"]: r["text"] for r in read_jsonl(log / "prompts.jsonl")}
    assert len(prompts) == 16 and set(prompts.values()) < set(tiny.dataset()["prompt"])
    visited = {r["key"] for r in read_jsonl(log / "groups.jsonl")}
    assert {r["key"] for r in read_jsonl(log / "completions.jsonl")} == visited
    theirs = read_rewards(log.parent / "completions")  # what TRL itself writes
    assert theirs.program == "TRL" and theirs.n_V.tolist() == [4] * 16
    assert set(theirs.keys) <= set(tiny.dataset()["prompt"])  # of the evaluation, too


def test_a_tracker_gets_the_series_of_the_report() -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = make("joint", max_steps=10, report_to="tensorboard")
    trainer.train()
    (written,) = {path.parent for path in Path(trainer.args.output_dir).rglob("events.out.*")}
    board = EventAccumulator(str(written)).Reload()
    tags = {tag.removeprefix("train/") for tag in board.Tags()["scalars"]}
    named = set(re.findall(r"`(gdro/[\w/]+)`", (ROOT / "docs/report.md").read_text()))
    for name in named:
        pattern = re.escape(name).replace("NN", r"\d\d")
        assert any(re.fullmatch(pattern, tag) for tag in tags), name
    assert len(named) > 20


def test_groups_without_any_reward_are_left_out() -> None:
    trainer = make("rollout-gdro", rewards=tiny.picky, max_steps=6)
    trainer.train()
    never = [i for i in range(24) if i % 3 == 0]
    assert trainer.controller.belief.visits_N[never].sum() == 0
    assert trainer.controller.ledger.unscored > 0
    assert any(h.get("gdro/unscored_groups", 0) > 0 for h in trainer.state.log_history)


def test_prompt_equal_undoes_the_weight_of_group_size() -> None:
    plain, equal = (
        make("rollout-gdro", max_steps=8),
        make("rollout-gdro", max_steps=8, prompt_equal=True),
    )
    for trainer in (plain, equal):
        trainer.train()
    assert not torch.equal(tiny.weights(plain), tiny.weights(equal))


def test_copies_of_a_row_share_a_belief() -> None:
    data = tiny.dataset(12)
    from datasets import concatenate_datasets

    with pytest.warns(UserWarning, match="12 of 24 rows are exact copies"):
        trainer = make("rollout-gdro", data=concatenate_datasets([data, data]), max_steps=6)
    trainer.train()
    assert trainer.controller.problem.num_prompts == 12
    assert trainer.controller.ledger.rollouts == 96


def test_run_log_has_steps_and_groups() -> None:
    trainer = make("joint", max_steps=5)
    trainer.train()
    folder = Path(trainer.args.output_dir) / "gdro"
    steps = list(read_jsonl(folder / "steps.jsonl"))
    groups = list(read_jsonl(folder / "groups.jsonl"))
    assert [s["ticket"] for s in steps] == list(range(5))
    assert sum(g["n"] for g in groups) == 80 == steps[-1]["ledger"]["rollouts"]
    assert steps[-1]["ledger"]["tokens"] == sum(g["tokens"] for g in groups) > 0
    assert {"key", "bin", "successes", "weight"} <= set(groups[0])
    json.dumps(steps)


def test_without_a_strategy_it_is_the_default_for_the_group_size() -> None:
    trainer = make(None, max_steps=3, num_generations=4)
    assert trainer.controller.strategy == default_strategy(4)
    trainer.train()
    assert trainer.controller.ledger.rollouts == 3 * 16
    with pytest.raises(StrategyError, match="name"):
        make(None, strategy_options={"n_max": 8})


def test_the_best_model_is_chosen_by_the_pass_rate_of_held_out_prompts() -> None:
    batches: list[list[float]] = []  # two an evaluation, of 8 and 4 rollouts
    right = (1, 1, 7, 2)

    def judged(completions, answer, **_):
        if int(answer[0]) > 2:
            return tiny.lucky(completions, answer)
        batches.append([float(i < right[len(batches)]) for i in range(len(completions))])
        return batches[-1]

    trainer = make(
        "rollout-gdro",
        rewards=judged,
        data=tiny.dataset().select(range(3, 24)),
        max_steps=4,
        eval_dataset=tiny.dataset(3),
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=8,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="gdro/pass_rate",
    )
    trainer.train()
    logged = [h["eval_gdro/pass_rate"] for h in trainer.state.log_history if "eval_gdro/pass_rate" in h]
    assert [len(batch) for batch in batches] == [8, 4, 8, 4]
    assert logged == [2 / 12, 9 / 12], "means over rollouts, not over batches"
    assert trainer.state.best_metric == 9 / 12
    assert str(trainer.state.best_model_checkpoint).endswith("checkpoint-4")
