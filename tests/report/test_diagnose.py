"""Reward logs of other tools: read, judged, and replayed by real controllers at equal budgets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gdro.cli import main
from gdro.data import DataError
from gdro.errors import GdroError
from gdro.report.diagnose.figures import CLASSES, class_of
from gdro.report.diagnose.page import waste
from gdro.report.diagnose.read import read_rewards
from gdro.report.diagnose.replay import DEFAULT_ARMS, measured, posterior_rates, replay
from gdro.report.load import ReportError


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rate = rng.beta(0.3, 0.6, 200)
    path = tmp_path_factory.mktemp("rewards") / "rewards.jsonl"
    rows = [
        {"prompt_id": f"<b>{i}", "rewards": np.where(rng.random(8) < rate[i], 1, -1).tolist(), "step": s}
        for s in range(2)
        for i in range(200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_both_forms_are_read(rewards: Path, folder: Path, tmp_path: Path) -> None:
    log = read_rewards(rewards)
    assert len(log.keys) == 200 and log.rollouts == 3200 and log.step_V.max() == 1
    assert (log.trials_K == 16).all()
    ours = read_rewards(folder / "grpo/gdro/groups.jsonl")
    assert ours.rollouts == 30 * 128 and ours.step_V.max() == 29
    path = tmp_path / "few.jsonl"
    path.write_text(
        '{"prompt_id": 7, "rewards": [0.2, null, true]}\n{"prompt_id": "x", "rewards": []}\n'
    )
    few = read_rewards(path, threshold=0.1)
    assert few.keys == ["7"] and (few.n_V.tolist(), few.successes_V.tolist()) == ([2], [2])
    assert read_rewards(path).successes_V.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no scored rollout"),
        ('{"prompt_id": 1, "rewards": ["a"]}\n', "row 1: needs prompt_id"),
        ('{"rewards": [1]}\n', "row 1: needs prompt_id"),
        ('{"prompt_id": 1, "result": "1"}\n', r"row 1: .*\(it has prompt_id, result\)"),
        ('{"key": "a", "n": 2, "successes": 3}\n', "3 successes of 2"),
        ("{broken}\n", r"is not JSON .*line 1"),
    ],
    ids=["empty", "words", "no-id", "no-rewards", "too-many", "broken"],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises((ReportError, DataError), match=said):
        read_rewards(path)
    with pytest.raises(ReportError, match="is not a file"):
        read_rewards(tmp_path / "absent")


def test_measured_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "three.jsonl"
    groups = {"wrong": [0, 0], "mixed": [0, 1, 1], "right": [1] * 5}
    path.write_text(
        "".join(json.dumps({"prompt_id": k, "rewards": v}) + "\n" for k, v in groups.items())
    )
    log = read_rewards(path)
    spent = measured(log)
    assert spent.kinds.tolist() == [2, 3, 5] and spent.solved_K.tolist() == [False, True, True]
    found = waste(log, spent)
    assert found.severity == "warning" and found.words.startswith("70% of 10 rollouts")
    assert [CLASSES[c] for c in class_of(np.array([0, 0.05, 0.1, 0.95, 1]))] == [
        "never",
        "to .1",
        "to .3",
        "below 1",
        "always",
    ]


def test_every_arm_spends_the_same_and_puts_it_elsewhere(rewards: Path) -> None:
    log = read_rewards(rewards)
    mean, drawn = posterior_rates(log, 0)
    assert ((mean > 0) & (mean < 1)).all() and np.corrcoef(mean, drawn)[0, 1] > 0.9
    arms = {spent.name: spent for spent in replay(log)}
    assert tuple(arms) == DEFAULT_ARMS
    for name, spent in arms.items():
        # Sampling on may pass the budget within the last step.
        assert log.rollouts <= spent.rollouts_K.sum() <= log.rollouts * (1.5 if name == "dapo" else 1)
        assert sum(spent.kinds) == spent.rollouts_K.sum()
    hard = mean < 0.3
    share = {name: spent.rollouts_K[hard].sum() / spent.rollouts_K.sum() for name, spent in arms.items()}
    assert share["rollout-gdro"] > share["uniform"] + 0.05
    assert share["gdro"] > share["uniform"] + 0.05
    pull = {name: spent.pull_K[hard].sum() / spent.pull_K.sum() for name, spent in arms.items()}
    assert pull["prompt-gdro"] > pull["uniform"] + 0.05
    again = replay(log, ["rollout-gdro"])[0]
    assert again.rollouts_K.tolist() == arms["rollout-gdro"].rollouts_K.tolist()


def test_command(rewards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "d.html"
    command = ["diagnose", str(rewards), "-o", str(page), "--strategy", "uniform", "--right-above", "0"]
    assert main([*command, "--png", str(tmp_path / "png")]) == 0
    text = page.read_text()
    assert "in groups without a gradient" in text and "uniform" in text and "<b>0" not in text
    assert {p.stem for p in (tmp_path / "png").iterdir()} == {"pass_rates", "wasted", "moved"}
    assert main(["diagnose", str(tmp_path / "absent.jsonl")]) == 2
    assert "is not a file" in capsys.readouterr().err
    with pytest.raises(GdroError, match="nonsense"):
        replay(read_rewards(rewards), ["nonsense"])


def test_partial_credit_has_a_gradient(tmp_path: Path) -> None:
    path = tmp_path / "partial.jsonl"
    groups = {"spread": [0.1, 0.3], "flat": [0.2, 0.2, 0.2], "solved": [0.9] * 4, "nearly": [0.8, 1.0]}
    lines = [{"prompt_id": k, "rewards": v} for k, v in groups.items()]
    lines.append({"key": "ours", "n": 2, "successes": 0, "gradient": True})
    lines.append({"key": "older", "n": 2, "successes": 1})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert measured(read_rewards(path)).kinds.tolist() == [3, 2 + 2 + 2 + 2, 4]


def stating(path: Path, groups: int, n: int) -> Path:
    """A log of counts: few bytes, however many rollouts they state."""
    rows = [
        {"key": str(i % 50), "step": i // 50, "n": n, "successes": i * 7 % (n + 1)}
        for i in range(groups)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_simulated_rollouts_are_bounded_by_what_the_file_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = stating(tmp_path / "stated.jsonl", 500, 16_384), tmp_path / "page.html"
    log = read_rewards(path)
    assert log.rollouts == 500 * 16_384
    for spent in replay(log):
        # Sampling on may pass the budget within the last step.
        assert 1 << 20 <= spent.rollouts_K.sum() < 1.5 * (1 << 20), spent.name
        assert (spent.rollouts_K > 0).all(), "groups become smaller, and no prompt is left out"
    assert main(["diagnose", str(path), "-o", str(page), "--strategy", "uniform"]) == 0
    said = "strategy 1,048,576 rollouts, not the 8,192,000 of your log, in groups of 2,097"
    assert said in " ".join(capsys.readouterr().out.split()) and page.read_text().count(said) == 2
    assert "of a smaller trial" in page.read_text() and "With as many rollouts" not in page.read_text()


def test_a_trial_grows_with_the_groups_and_takes_all_of_a_usual_log(
    rewards: Path, tmp_path: Path
) -> None:
    many = read_rewards(stating(tmp_path / "many.jsonl", 5000, 1024))
    assert many.trial_rollouts == 5000 * 256 and many.trial_group == 256
    usual = read_rewards(stating(tmp_path / "usual.jsonl", 5000, 256))
    assert usual.trial_rollouts == usual.rollouts > 1 << 20 and not usual.capped
    log = read_rewards(rewards)
    assert log.trial_rollouts == log.rollouts and not log.capped
