"""What GDROTrainer logs: exact counters at every logging step, and a short line on the console."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from transformers import ProgressCallback

from gdro import GdroError
from gdro.integrations.trl import GDROTrainer
from gdro.log.run_log import GROUPS, read_jsonl
from gdro.report.load import load_runs
from gdro.rewards import MathVerifier, math_reward

BRIEF = ["reward", "gdro/pass_rate", "gdro/gradient", "completions/mean_length", "entropy", "grad_norm"]


def make(strategy: str = "rollout-gdro", **options: Any) -> GDROTrainer:
    own = {k: options.pop(k) for k in ("gdro_log", "eval_dataset") if k in options}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        processing_class=tiny.tokenizer(),
        args=tiny.config(**options),
        train_dataset=tiny.dataset(),
        strategy=strategy,
        **own,
    )


def trained(trainer: GDROTrainer) -> list[dict[str, Any]]:
    return [line for line in trainer.state.log_history if "gdro/pass_rate" in line]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
        {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8},
    ],
    ids=["plain", "accumulation", "evaluation between"],
)
def test_counters_are_exact_and_extremes_are_extremes_over_a_window(options: dict[str, Any]) -> None:
    held = {"eval_dataset": tiny.dataset(8)} if "eval_steps" in options else {}
    trainer = make(max_steps=12, logging_steps=5, **held, **options)
    trainer.train()
    steps = list(read_jsonl(Path(trainer.args.output_dir) / "gdro/steps.jsonl"))
    lines = trained(trainer)
    for start, line in zip((0, 5), lines, strict=False):
        assert line["step"] == start + 5
        window = [step["metrics"] for step in steps[start : start + 5]]
        assert line["gdro/rollouts_min"] == min(m["rollouts_min"] for m in window)
        assert line["gdro/rollouts_max"] == max(m["rollouts_max"] for m in window)
        for name, count in steps[start + 4]["ledger"].items():
            assert line[f"gdro/total_{name}"] == count
        assert line["gdro/total_rollouts"] == 16 * line["step"]
    assert max(line["gdro/rollouts_max"] for line in lines[:2]) > 4, "allocation never left uniform"
    assert trainer.state.log_history[-1]["gdro/total_rollouts"] == 16 * 12


def test_a_window_without_a_generation_counts_too() -> None:
    trainer = make(max_steps=6, num_iterations=3)
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["gdro/total_rollouts"] for line in lines] == [16.0] * 3 + [32.0] * 3


def test_counters_go_on_after_a_resume(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "output_dir": str(tmp_path),
        "save_strategy": "steps",
        "save_steps": 3,
        "logging_steps": 4,
    }
    make(max_steps=4, **options).train()
    again = make(max_steps=8, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert [line["gdro/total_rollouts"] for line in trained(again)] == [64.0, 128.0]


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_the_console_shows_six_numbers_and_trackers_all(
    disable_tqdm: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"max_steps": 3, "disable_tqdm": disable_tqdm}
    trainer = make(
        eval_dataset=tiny.dataset(8),
        eval_strategy="steps",
        eval_steps=3,
        per_device_eval_batch_size=8,
        report_to="tensorboard",
        **options,
    )
    trainer.train()
    shown, bars = capsys.readouterr()
    lines = [ast.literal_eval(line) for line in shown.splitlines() if line.startswith("{")]
    assert [list(line) for line in lines[:3]] == [["step", *BRIEF]] * 3
    assert [line["step"] for line in lines[:3]] == ["1/3", "2/3", "3/3"]
    assert list(lines[3])[:2] == ["step", "eval_reward"]
    assert "train_runtime" in lines[4]
    assert "%|" not in bars, "no bar where there is no terminal"
    logged = trained(trainer)[-1]
    assert {"gdro/total_rollouts", "gdro/price", "loss"} <= set(logged)
    assert "gdro/unseen/share" in logged, "values by bin, too"
    json.dumps(logged)


def test_the_whole_line_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    make(max_steps=1, gdro_log="full").train()
    line = ast.literal_eval(capsys.readouterr().out.splitlines()[0])
    assert {"loss", "gdro/price", "gdro/total_rollouts"} <= set(line)
    with pytest.raises(GdroError, match="gdro_log is 'short'; allowed: 'brief'"):
        make(gdro_log="short")


def test_another_progress_callback_is_left_alone() -> None:
    class Mine(ProgressCallback): ...

    trainer = make(disable_tqdm=False)
    trainer.remove_callback(ProgressCallback)
    assert not any(isinstance(c, ProgressCallback) for c in trainer.callback_handler.callbacks)
    trainer.add_callback(Mine)
    assert type(trainer.callback_handler.callbacks[-1]) is Mine


def test_a_step_without_any_reward_has_no_pass_rate_and_no_reward() -> None:
    def late(completions: list[Any], trainer_state: Any, **_: Any) -> list[float | None]:
        return [None if trainer_state.global_step < 2 else 1.0] * len(completions)

    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=late,
        processing_class=tiny.tokenizer(),
        args=tiny.config(max_steps=3),
        train_dataset=tiny.dataset(),
        strategy="uniform",
    )
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    names = ("gdro/pass_rate", "gdro/reward", "gdro/all_wrong")
    assert [[line.get(name) for name in names] for line in lines] == [[None] * 3, [None] * 3, [1, 1, 0]]


def test_answers_that_were_not_judged_are_in_trl_s_log_and_the_run_log() -> None:
    """As reward functions log them, in training and in evaluations between steps."""
    calls: list[int] = []

    def troubled(completions: list[Any], answer: list[str], log_metric: Any, **_: Any) -> list[float]:
        calls.append(len(completions))
        log_metric("rewards/math/timeouts", float(len(calls)))
        log_metric("rewards/gym/crashes", 1.0)
        log_metric("mine", 5.0)
        return tiny.lucky(completions, answer)

    for strategy in ("rollout-gdro", "prompt-gdro"):  # the second closes a step after its losses
        calls.clear()
        held = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8}
        trainer = GDROTrainer(
            model=tiny.model(),
            reward_funcs=troubled,
            processing_class=tiny.tokenizer(),
            args=tiny.config(max_steps=4, **held),
            train_dataset=tiny.dataset(),
            strategy=strategy,
            eval_dataset=tiny.dataset(8),
        )
        trainer.train()
        steps = list(read_jsonl(Path(trainer.args.output_dir) / "gdro/steps.jsonl"))
        lines = trained(trainer)
        assert len(steps) == len(lines) == 4
        in_log = [step["reward_timeouts"] for step in steps]
        assert in_log == [line["rewards/math/timeouts"] for line in lines]
        assert in_log[:2] == [1.0, 2.0] and in_log[2] > 3.0  # evaluations came between
        assert [step["reward_crashes"] for step in steps] == [1.0] * 4


def test_a_real_timeout_is_in_the_log() -> None:
    """A tiny model against math_reward, whose golds no machine compares in the time."""
    data = tiny.dataset(8)
    endless = data.remove_columns("answer").add_column("answer", ["9^{9^{9^{9}}}"] * 8)
    with MathVerifier(workers=2, timeout_s=0.2, batch_s=0.5) as verifier:
        trainer = GDROTrainer(
            model=tiny.model(),
            reward_funcs=math_reward(verifier),
            processing_class=tiny.tokenizer(),
            args=tiny.config(max_steps=1, num_train_epochs=1),
            train_dataset=endless,
            strategy="rollout-gdro",
        )
        trainer.train()
        assert verifier.timeouts > 0
    (step,) = read_jsonl(Path(trainer.args.output_dir) / "gdro/steps.jsonl")
    assert step["reward_timeouts"] == trained(trainer)[0]["rewards/math/timeouts"] == verifier.timeouts
    assert step["reward_crashes"] == verifier.crashes


def test_a_run_without_a_verifier_has_no_such_names() -> None:
    trainer = make(max_steps=1)
    trainer.train()
    (step,) = read_jsonl(Path(trainer.args.output_dir) / "gdro/steps.jsonl")
    assert "reward_timeouts" not in step and "reward_crashes" not in step


@pytest.mark.parametrize("column", ["source", "data_source", None])
def test_sources_of_prompts_are_in_the_log(column: str | None, tmp_path: Path) -> None:
    """The report reads them to find a source that the verifier refuses."""
    data = tiny.dataset()
    if column is not None:
        data = data.rename_column("parity", column)
    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        args=tiny.config(output_dir=str(tmp_path), max_steps=2),
        train_dataset=data,
        processing_class=tiny.tokenizer(),
        id_column="id",
    )
    trainer.train()
    (run,), _ = load_runs([tmp_path])
    visited = {group["key"] for group in read_jsonl(tmp_path / "gdro" / GROUPS)}
    expected = {key: "odd" if int(key[1:]) % 2 else "even" for key in visited}
    assert len(visited) > 1
    assert run.sources == (expected if column else {})
