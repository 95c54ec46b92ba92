"""`process=`: a check of the work keeps successes that may be luck out of the memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from gdro.errors import UnsupportedError
from gdro.integrations.trl import GDROConfig, GDROTrainer
from gdro.integrations.trl.correct import read_process
from gdro.integrations.trl.rule import rule

MEMORY = "rollout-gdro + memory"


def tidy(completions: list[Any], **_: Any) -> list[float | None]:
    """Objects to texts with an `a`; does not judge texts with a `b`."""
    texts = [tiny._text(c) for c in completions]
    return [None if "b" in t else float("a" not in t) for t in texts]


def train(process: Any = None, functions: Any = None, weights: Any = None, **config: Any):
    """Train, and return the trainer, and the outcome and weights of every step."""
    steps: list[tuple[Any, Any]] = []
    trainer = GDROTrainer(
        model=tiny.model(),
        reward_funcs=functions or [tiny.lucky, tidy],
        args=tiny.config(reward_weights=weights or [1.0, 0.0], **config),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
        strategy=MEMORY,
        process=process,
    )
    weigh = trainer.controller.weigh

    def watching(outcome: Any) -> Any:
        weights = weigh(outcome)
        steps.append((outcome, weights))
        return weights

    trainer.controller.weigh = watching
    trainer.train()
    return trainer, steps


def test_successes_that_the_check_objects_to_are_not_remembered() -> None:
    """Rewards, beliefs and plans are the same until a recall differs; only the memory is pickier."""
    _, plain = train()
    _, checked = train("tidy")
    first, own = plain[0], checked[0]
    assert np.array_equal(first[0].reward_R, own[0].reward_R)
    assert np.array_equal(first[0].correct_R, own[0].correct_R)
    assert first[0].sound_R is None
    objected = 0
    for outcome, weights in checked:
        right_R = outcome.judged_mask_R & outcome.correct_R
        assert np.array_equal(weights.remember_R, right_R & outcome.sound_R)
        objected += int((right_R & ~outcome.sound_R).sum())
    assert objected > 0
    assert all((w.remember_R == (o.judged_mask_R & o.correct_R)).all() for o, w in plain)


def test_no_verdict_of_the_check_is_no_objection() -> None:
    trainer, steps = train("tidy")
    rewards_RK = trainer._gdro_judging.process
    assert rewards_RK.text == "reward 'tidy' above 0.5"
    assert any(outcome.sound_R.any() and not outcome.sound_R.all() for outcome, _ in steps)
    scores = torch.tensor([[1.0, float("nan")], [1.0, 0.0], [1.0, 1.0]])
    verdicts = trainer._gdro_judging.verdicts(99, np.array([0, 1, 2]), (scores, None))
    assert verdicts.sound_R.tolist() == [True, False, True]


def test_a_check_judges_no_answers() -> None:
    """Without `correct=`, the check is not part of what makes a rollout right."""
    functions = [tiny.lucky, tidy]
    assert rule(["lucky", "tidy"], functions, [1.0, 1.0], ["answer"], [1]).text == (
        "reward 'lucky' above 0.5"
    )
    assert rule(["tidy"], [tidy], [1.0], ["answer"], [0]).text == "reward 'tidy' above 0.5"
    three = rule(["lucky", "tidy", "length"], [*functions, tiny.length], [1.0] * 3, ["answer"], [1])
    assert "tidy" not in three.text


@pytest.mark.parametrize(
    ("strategy", "warns"), [("rollout-gdro", True), ("uniform", False), ("popo", True)]
)
def test_a_check_that_nothing_reads_is_told(strategy: str, warns: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GDROTrainer(
            model=tiny.model(),
            reward_funcs=[tiny.lucky, tidy],
            args=tiny.config(),
            train_dataset=tiny.dataset(),
            processing_class=tiny.tokenizer(),
            strategy=strategy,
            process="tidy",
        )
    told = [str(w.message) for w in caught if "process='tidy' changes nothing" in str(w.message)]
    assert bool(told) is warns


def test_thresholds_and_config() -> None:
    judge = read_process(("tidy", 0.9), ["lucky", "tidy"], [tiny.lucky, tidy])
    assert judge is not None and judge.thresholds == (0.9,)
    assert read_process(tidy, ["lucky", "tidy"], [tiny.lucky, tidy]).columns == (1,)
    assert GDROConfig("out", process=["tidy", "0.9"], bf16=False).process == ["tidy", 0.9]
    with pytest.raises(UnsupportedError, match=r"GDROConfig.process is the function 'tidy'"):
        GDROConfig("out", process=tidy, bf16=False)


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ("tidi", r"process names the reward function 'tidi'; did you mean 'tidy'"),
        (("total", 0.5), r"process is \('total', 0.5\); allowed: a reward function of the trainer"),
        (["lucky", "tidy"], r"allowed: a reward function of the trainer \(lucky, tidy\)"),
        (lambda **_: [], r"allowed: a reward function of the trainer"),
        (3, r"process is 3; allowed"),
    ],
)
def test_refusals_name_what_is_allowed(process: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        train(process)
