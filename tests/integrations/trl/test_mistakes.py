"""What a first script gets wrong is told when the trainer is made, with the fix."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from gdro import Controller, GdroError, Problem, StrategyError, make_strategy
from gdro.integrations.dataset import dataset_pool
from gdro.integrations.trl import GDROMixin, GDROTrainer
from gdro.integrations.trl.correct import Named, Verdicts
from gdro.integrations.trl.judging import PLANS, VerdictWatch
from gdro.log.run_log import read_jsonl
from gdro.report.load import load_runs
from gdro.report.page import write_report
from gdro.report.verdicts import verdicts


def make(reward: Any = tiny.lucky, data: Any = None, **given: Any) -> GDROTrainer:
    config = {k: given.pop(k) for k in ("num_generations", "max_steps") if k in given}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=reward,
        args=tiny.config(**config),
        train_dataset=data or tiny.dataset(),
        processing_class=tiny.tokenizer(),
        **given,
    )


def test_bounds_that_the_mean_cannot_meet_are_refused_at_once() -> None:
    for strategy in ("rollout-gdro", "mopps + rollout-gdro + memory"):
        with pytest.raises(StrategyError, match=r"num_generations is 16, .*rollout-gdro\(n_max=48\)"):
            make(strategy=strategy, num_generations=16)
    with pytest.raises(StrategyError, match=r"below n_min; write 'hora\(n_min=2\)'"):
        make(strategy="hora(n_min=5)", num_generations=4)
    ready = Controller(make_strategy("rollout-gdro", n_max=3), dataset_pool(tiny.dataset()).problem)
    with pytest.raises(StrategyError, match=r"rollout-gdro\(n_max=12\)"):
        make(controller=ready)


def test_bounds_that_leave_no_choice_are_told_once() -> None:
    for strategy, n, fix in (
        ("rollout-gdro", 2, "raise num_generations"),
        ("rollout-gdro(n_max=4)", 4, r"write 'rollout-gdro\(n_max=12\)'"),
        ("rollout-gdro(n_min=4)", 4, r"write 'rollout-gdro\(n_min=2\)'"),
    ):
        with pytest.warns(UserWarning, match=f"nothing can be reallocated; {fix}") as told:
            make(strategy=strategy, num_generations=n)
        assert len([w for w in told if "nothing can be reallocated" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*nothing can be reallocated")
        make(strategy="rollout-gdro(n_max=48)", num_generations=16)
        make(num_generations=16)


def fifths(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [score / 5 for score in tiny.lucky(completions, answer)]


def test_a_threshold_that_no_reward_passes_is_told_once() -> None:
    with pytest.warns(UserWarning, match=r"between 0 and 0.2.*correct=\('fifths', 0.1\)") as told:
        make(fifths, strategy="uniform", max_steps=PLANS + 3).train()
    assert len([w for w in told if "no rollout of the first" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no rollout of the first")
        make(fifths, strategy="uniform", max_steps=PLANS + 1, correct=("fifths", 0.1)).train()


@pytest.mark.parametrize(
    ("main", "judged", "told"),
    [
        (True, [0.0, 0.2, np.nan, 0.1], 1),
        (True, [0.0, 0.0, 0.2, 0.2], 0),  # groups agree: no advantage to mislead
        (True, [0.0, 0.2, 0.0, 0.6], 0),
        (True, [0.6, 0.7, 1.0, np.nan], 1),
        (True, [1.0, 1.0, 1.0, 1.0], 1),  # right whatever it says
        (False, [0.0, 0.2, 0.0, 0.1], 0),  # another rank tells
    ],
)
def test_a_threshold_is_doubted_where_groups_differ(main: bool, judged: list[float], told: int) -> None:
    watch = VerdictWatch(Named(("mine",), (1,), (0.5,)), speaks=main)
    value = np.array(judged, np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(2 * PLANS):  # the second half is of the same tickets: further rounds
            watch.see(step % PLANS, np.array([0, 0, 1, 1]), Verdicts(value > 0.5, value == value, value))
        assert not caught
        for ticket in range(PLANS, PLANS + 2):
            watch.see(ticket, np.array([0, 0, 1, 1]), Verdicts(value > 0.5, value == value, value))
    assert len(caught) == told


def test_rows_that_nothing_judges_are_told_once() -> None:
    def other(completions: list[Any], **_: Any) -> list[None]:
        return [None] * len(completions)

    given = {"strategy": "uniform", "correct": "other", "max_steps": PLANS + 2}
    with pytest.warns(UserWarning, match=r"no rollout .* was judged: right is reward 'other'") as told:
        make([tiny.lucky, other], **given).train()
    assert len([w for w in told if "was judged" in str(w.message)]) == 1


@pytest.mark.parametrize("scored", [False, True])
def test_where_nothing_is_judged_log_and_report_have_no_zeros(scored: bool) -> None:
    def other(completions: list[Any], **_: Any) -> list[None]:
        return [None] * len(completions)

    rewards = [tiny.lucky, other] if scored else other
    trainer = make(rewards, strategy="rollout-gdro", correct="other", max_steps=PLANS)
    trainer.train()
    metrics = trainer.controller.metrics()
    folder = Path(trainer.args.output_dir)
    for step in read_jsonl(folder / "gdro" / "steps.jsonl"):
        assert step["metrics"]["pass_rate"] is step["metrics"]["flat_wrong"] is None
        assert (step["metrics"]["reward"] is None) != scored
    assert "gdro/pass_rate" not in metrics and ("gdro/reward" in metrics) == scored
    said = verdicts(load_runs([folder])[0])
    assert "no rollout was judged" in " ".join(verdict.words for verdict in said)
    page = write_report([folder], folder / "report.html").read_text()
    assert "<td>not judged</td>" in page and "<td>nan</td>" not in page


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stratgy": "uniform"}, "GDROTrainer has no argument 'stratgy'; did you mean 'strategy'"),
        ({"train_datset": None}, "did you mean 'train_dataset'"),
        ({"colour": 1}, "no argument 'colour'; there are: strategy, .*reward_funcs"),
        ({"difficulty": {"k": 4}}, r"pass gdro.Difficulty\(k=4\)"),
        ({"strategy": Problem}, r"strategy is .*Problem.*pass make_strategy\(NAME\)"),
        (
            {"data": tiny.dataset().rename_column("prompt", "question")},
            "no column 'prompt'",
        ),
    ],
)
def test_a_wrong_argument_is_told_with_the_fix(given: dict[str, Any], words: str) -> None:
    with pytest.raises(GdroError, match=words):
        make(**given)


def test_a_trainer_that_takes_any_argument_sees_for_itself() -> None:
    class Open:
        def __init__(self, **kwargs: Any) -> None:
            raise KeyError(*kwargs)

        def _generate_and_score_completions(self, inputs: Any) -> Any: ...

        keeps_advantages = True

    class Mine(GDROMixin, Open): ...

    with pytest.raises(KeyError, match="mine"):
        Mine(mine=1, train_dataset=tiny.dataset())
