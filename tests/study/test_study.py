"""The command: configuration, resume, exploration kept apart, what is written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import CONFIG, TWO_BEDS, config, record

from gdro.cli import main
from gdro.study import StudyError, load_study, publish, run_study
from gdro.study.explored import refuse_explored
from gdro.study.results import summarise
from gdro.study.runner import jobs
from gdro.study.testbeds.chains import Chains

LEARNS = "num_steps: 40, batch: 32, evaluate_every: 40, learning_rate: 0.0008"


class Own(Chains):
    """A user's testbed."""


def plain(finished, **_):
    return finished


def test_command_writes_results_and_resumes(tmp_path: Path, capsys) -> None:
    out, results = tmp_path / "runs", tmp_path / "results"
    command = [
        "study",
        str(config(tmp_path)),
        "--workers",
        "2",
        "--output",
        str(out),
        "--results",
        str(results),
    ]
    assert main(command) == 0
    assert "| placebo | chains |" in capsys.readouterr().out
    folder = out / "tiny/confirmation"
    log = folder / "runs.jsonl"
    whole = sorted(log.read_text().splitlines())
    assert len(whole) == 6
    found = json.loads((results / "tiny.json").read_text())
    row = found["arms"]["random"]["chains"]
    assert {
        "pass8_rel_mean",
        "ci_low",
        "ci_high",
        "seeds",
        "mean8_easy_delta",
        "rollouts",
        "tokens",
    } <= set(row)
    assert row["seeds"] == [100, 101]
    for name in ("forest", "curves"):
        assert (folder / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "worst slice, mean@8 points" in (folder / "table.md").read_text() and not found["warnings"]
    assert (folder / "report.html").read_text().count("data-panel=") == 4
    # Killed in the middle of a line: the finished runs stay, the others are run again.
    kept = log.read_text().splitlines(keepends=True)
    log.write_text("".join(kept[:3]) + kept[3][:40])
    assert main(command) == 0

    def bare(lines):
        return sorted(json.dumps({**json.loads(line), "seconds": 0}) for line in lines)

    assert bare(log.read_text().splitlines()) == bare(whole)
    assert json.loads((results / "tiny.json").read_text()) == found


def test_a_killed_study_leaves_no_workers(tmp_path: Path) -> None:
    """Workers would go on with what was queued, unseen."""
    text = CONFIG.replace("num_steps: 3", "num_steps: 5000").replace(
        "evaluate_every: 2", "evaluate_every: 5000"
    )
    command = [
        sys.executable,
        "-m",
        "gdro.cli",
        "study",
        str(config(tmp_path, text)),
        "--workers",
        "2",
        "--output",
        str(tmp_path / "runs"),
    ]
    study = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{study.pid}/task/{study.pid}/children")
    workers = waited(lambda: [c for c in children.read_text().split() if working(c)], 2)
    study.kill()
    study.wait()
    waited(lambda: [c for c in workers if not working(c)], 2)


def working(pid: str) -> bool:
    """Whether the process is a worker that lives."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return "spawn_main" in command and state != "Z"


def waited(found: Callable[[], list[str]], wanted: int) -> list[str]:
    until = time.monotonic() + 60.0
    while len(pids := found()) < wanted:
        assert time.monotonic() < until, f"{len(pids)} of {wanted}"
        time.sleep(0.1)
    return pids


def test_exploration_is_never_a_result(tmp_path: Path, capsys) -> None:
    command = [
        "study",
        str(config(tmp_path)),
        "--explore",
        "--workers",
        "1",
        "--output",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path / "results"),
    ]
    assert main(command) == 0
    assert "never results" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert "for choosing, not for reporting" in (tmp_path / "runs/tiny/exploration/table.md").read_text()
    # Another study, whose file knows nothing of what was explored, on one of the seeds.
    (tmp_path / "other").mkdir()
    other = config(tmp_path / "other", TWO_BEDS.replace("name: tiny", "name: other"))
    again = ["study", str(other), "seeds=1-2", "exploration_seeds=8", *command[3:]]
    assert main(again) == 2
    refused = capsys.readouterr().err
    assert all(part in refused for part in ("'other'", "[1]", "'tiny' explored", "use fresh ones"))
    assert not (tmp_path / "runs/other").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("run", "refused"),
    [
        ({"testbed": "x", "task": "chains", "seed": 101}, True),
        ({"testbed": "chains", "task": "strings", "seed": 101}, False),
        ({"testbed": "chains", "task": "chains", "seed": 7}, False),
    ],
)
def test_only_the_same_task_and_seed_were_explored(tmp_path: Path, run: dict, refused: bool) -> None:
    log = tmp_path / "unrelated/exploration/runs.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"key": "k", "arm": "a", **run}) + "\n" + '{"cut off')
    study = load_study(config(tmp_path))
    if refused:
        with pytest.raises(StudyError, match=r"'tiny' cannot confirm on seeds \[101\]: 'unrelated'"):
            refuse_explored(study, tmp_path)
    else:
        refuse_explored(study, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("exploration_seeds: 0-1", "exploration_seeds: 101-102", "both confirmation and exploration"),
        ("seeds: 100-101", "seeds: ten", "cannot be read"),
        ("control: grpo", "control: nothing", "control"),
        ("  placebo: {strategy: placebo-weights}\n", "  other: {strategy: joint}\n", "placebo"),
        ("  random: {strategy: random-rollouts}\n", "  other: {strategy: joint}\n", "random"),
        ("strategy: random-rollouts", "strategy: misspelt", "misspelt"),
        ("task: chains", "task: nowhere", "nowhere"),
        ("warm_start: chains-a", "warm_start: none", "warm start"),
        ("num_steps: 3", "num_stepz: 3", "num_stepz"),
        ("{strategy: uniform}", "{strategy: uniform, training: {rollouts: 8}}", "equal rollouts"),
        ("{strategy: uniform}", "{strategy: uniform, training: {speed: 8}}", "speed"),
        ("warm_start: chains-a", "warm_start: chains-a, variant: {unsolvable: 2}", "unsolvable"),
        ("warm_start: chains-a", "warm_start: chains-a, seeds: 5-6", "among"),
        ("strategy: random-rollouts", "strategy: random-rollouts, groups: [heavy]", "groups of"),
        ("{strategy: uniform}", "{strategy: uniform, seeds: 100}", "the control"),
    ],
)
def test_bad_studies_are_refused(tmp_path: Path, capsys, old: str, new: str, words: str) -> None:
    assert old in CONFIG
    assert main(["study", str(config(tmp_path, CONFIG.replace(old, new, 1)))]) == 2
    assert words in capsys.readouterr().err


def test_a_users_testbed_plugs_in(tmp_path: Path) -> None:
    from gdro.study.config import warm_start_path

    text = CONFIG.replace("task: chains", f"task: {Own.__module__}:Own")
    text = text.replace("warm_start: chains-a", f"warm_start: {warm_start_path('chains-a')}")
    try:
        study = load_study(config(tmp_path, text), ["seeds=100"])
    except StudyError as error:  # the test module cannot be imported by its name under importlib mode
        pytest.fail(str(error))
    records = run_study(study, tmp_path / "runs", False, 1, plain)
    assert len(records) == 3


def test_two_identical_arms_show_no_difference(tmp_path: Path) -> None:
    """Plain GRPO by another name: effects of nothing, at every seed and on either axis."""
    same = '{strategy: uniform}\n  same: {strategy: "memory(replay=False, anchors=0)"}'
    study = load_study(config(tmp_path, CONFIG.replace("{strategy: uniform}", same)))
    found = summarise(study, run_study(study, tmp_path / "runs", False, 1, plain))["arms"]
    row = found["same"]["chains"]
    assert row["pass8_rel_mean"] == row["ci_low"] == row["ci_high"] == 0.0
    assert row["equal_tokens"]["mean"] == row["mean8_easy_delta"] == row["wins"] == 0
    assert row["p_holm"] == 1.0
    assert found["random"]["chains"]["trained"] != row["trained"]


def test_a_study_of_two_arms_says_that_it_has_no_placebo(tmp_path: Path) -> None:
    """Allowed, but on every output; an arm of the kind that is missing ends it."""
    text = CONFIG.replace("  random: {strategy: random-rollouts}\n", "")
    one = load_study(config(tmp_path, text))
    text = text.replace("placebo-weights", "joint")
    two = load_study(config(tmp_path, text))
    records = [record(arm, seed, 0.4) for arm in ("grpo", "placebo") for seed in (100, 101)]
    assert len(summarise(one, records)["warnings"]) == 1
    assert summarise(one, records)["warnings"][0].startswith("No random arm:")
    made = publish(two, records, tmp_path, tmp_path / "results", explore=False)
    assert made.results is not None
    (warning,) = json.loads(made.results.read_text())["warnings"]
    assert warning.startswith("No placebo and no random arm:")
    assert f"**{warning}**" in made.table.read_text()
    assert f"<b>{warning}</b>" in made.page.read_text()


def test_an_arm_with_its_signal_turned_round_loses(tmp_path: Path) -> None:
    """`mopps(target=0)` draws what fails most; turned round it draws what is solved: learns little."""
    text = CONFIG.replace("  random: {strategy: random-rollouts}\n", "")
    text = text.replace(
        "placebo: {strategy: placebo-weights}", "backwards: {strategy: mopps(target=1.0)}"
    )
    text = text.replace("seeds: 100-101", "seeds: 100-102", 1)
    text = text.replace("num_steps: 3, batch: 8, evaluate_every: 2", LEARNS)
    text = text.replace("train: 64, heldout: 32, samples: 8", "train: 128, heldout: 96, samples: 8")
    study = load_study(config(tmp_path, text))
    records = run_study(study, tmp_path / "runs", False, 1, plain)
    row = summarise(study, records)["arms"]["backwards"]["chains"]
    assert len(row["seeds"]) == 3 and row["wins"] == 0
    assert row["ci_high"] < 0.0
    assert row["rollouts"] == 40 * 32 * 4


def test_arms_run_on_the_groups_and_seeds_they_name(tmp_path: Path) -> None:
    text = TWO_BEDS.replace("warm_start: chains-b", "warm_start: chains-b, group: noisy")
    text = text.replace("random-rollouts", "random-rollouts, groups: [noisy], seeds: 101")
    wanted = jobs(load_study(config(tmp_path, text)), explore=False)
    assert [(j.testbed, j.seed) for j in wanted if j.arm == "random"] == [("other", 101)]
    assert len([j for j in wanted if j.arm == "placebo"]) == 4
