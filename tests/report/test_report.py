"""The report from real run logs: complete, self-contained, and safe against hostile names."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from logs import HOSTILE, play

from gdro import Controller, Difficulty, Outcome, Problem, Request, RunLog, make_strategy
from gdro.cli import main
from gdro.errors import LogError
from gdro.log.run_log import GROUPS, PROMPTS, RUN, SCHEMA, STEPS
from gdro.report import ReportError, write_report
from gdro.report.figures import learning
from gdro.report.figures.prompts import calibrated
from gdro.report.load import load_runs

FIGURES = (
    "overview",
    "share",
    "weights",
    "reward",
    "rollouts",
    "snapshots",
    "mean_bin",
    "mass",
    "entropy",
    "lead",
    "standard_error",
    "price",
    "allocation",
    "zero_variance",
    "effective",
    "never_solved",
    "calibration",
    "learning",
    "policy",
    "heldout",
)


def test_page_is_complete_and_self_contained(folder: Path, tmp_path: Path) -> None:
    page = write_report([folder], tmp_path / "r.html", tmp_path / "png").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)">', page) == ["verdicts", *FIGURES, "prompts"]
    assert "0.432" in page and "3,840" in page and "hard &amp; few" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert HOSTILE not in page and "&lt;script&gt;window.hacked" in page
    assert len(page) < 2 * 2**20
    assert {p.stem for p in (tmp_path / "png").glob("*.png")} == set(FIGURES)


def test_every_figure_says_how_to_read_it_and_every_axis_its_unit(folder: Path) -> None:
    from gdro.report.figures import all_figures

    figures = all_figures(*load_runs([folder]))
    assert [f.name for f in figures] == list(FIGURES)
    papers = {paper for f in figures for paper in re.findall(r"\d+[ab]?", f.paper)}
    assert papers == {"3", "4", "5", "6a", "6b", "7", "8", "9"}
    for figure in figures:
        assert re.fullmatch(r"[^\n]{40,260}\.", figure.reading), figure.name
        for panel in figure.panels:
            assert len({len(column) for column in panel.columns.values()}) == 1
            assert any(panel.columns.values()), (figure.name, panel.title)
            text = json.dumps(panel.spec)
            assert '"title"' in text and panel.heads.keys() <= panel.columns.keys()


def test_entropy_and_length_are_drawn_where_the_trainer_logged_them(folder: Path) -> None:
    """All that two arms saved; the third one's trainer knew no entropy."""
    entropy, length = learning.policy(load_runs([folder])[0]).panels
    assert (entropy.heads["y"], length.heads["y"]) == ("entropy, nats a token", "answer, tokens")
    assert set(entropy.columns["line"]) == {"grpo", "both"}
    assert set(length.columns["line"]) == {"grpo", "both", "rollout-gdro"}
    assert length.columns["x"][:3] == [1.0, 2.0, 3.0]
    drawn = zip(length.columns["line"], length.columns["y"], strict=True)
    assert [y for name, y in drawn if name == "grpo"] == [20.0 + step for step in range(30)]
    alone = [dataclasses.replace(run, evaluation=None) for run in load_runs([folder])[0]]
    assert learning.policy(alone) is None


def test_log_is_read_back_as_written(folder: Path) -> None:
    runs, _ = load_runs([folder])
    assert [r.name for r in runs] == ["grpo", "both", "rollout-gdro"]
    for run in runs:
        assert run.bins["prompts"].shape == (30, 11)
        assert (run.bins["prompts"].sum(axis=1) == 32).all()
        spent = np.nansum(run.bins["prompts"] * run.bins["rollouts"], axis=1)
        assert np.allclose(spent, 128)
        assert run.ledger["tokens"][-1] == 30 * 128 * 7
        visits = run.visits
        assert visits is not None and len(visits.prompt_V) == 30 * 32
        assert np.bincount(visits.step_V, visits.n_V).tolist() == [128] * 30
        assert visits.visits_K.sum() == 30 * 32 and visits.rollouts_K.sum() == 30 * 128
        assert np.isfinite(visits.predicted_V).all()
        assert run.header["schema"] == SCHEMA and len(run.texts) == 200


def test_single_runs_side_by_side(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "grpo", tmp_path / "again/grpo")
    runs, summary = load_runs([folder / "grpo", folder / "both/gdro", tmp_path / "again/grpo"])
    assert summary is None
    assert [r.name for r in runs] == [f"{folder.name}/grpo", "both", "again/grpo"]


def test_an_arm_may_be_called_as_the_logs_folder(tmp_path: Path) -> None:
    for arm in ("grpo", "gdro"):
        play(tmp_path / "seed-0" / arm, "uniform", steps=1)
    assert [run.name for run in load_runs([tmp_path / "seed-0"])[0]] == ["grpo", "gdro"]
    play(tmp_path / "verl/checkpoints", "uniform", steps=1)
    assert load_runs([tmp_path / "verl/checkpoints"])[0][0].name == "verl"


def test_a_log_without_groups_is_drawn_without_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "rollout-gdro/gdro", tmp_path / "part")
    for name in (PROMPTS, GROUPS):
        (tmp_path / "part" / name).unlink()
    page = write_report([tmp_path / "part"], tmp_path / "r.html").read_text(encoding="utf-8")
    missing = {"calibration", "policy", "heldout", "standard_error", "allocation", "never_solved"}
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == ["verdicts", *(name for name in FIGURES if name not in missing)]


def test_predicted_first_visits_have_a_panel_of_their_own(folder: Path, tmp_path: Path) -> None:
    level = np.arange(400) % 4
    problem = Problem([f"p{i}" for i in range(400)], columns={"level": level})
    controller = Controller(
        make_strategy("rollout-gdro"),
        problem,
        difficulty=Difficulty(predictor=("level",)),
        log=RunLog(tmp_path / "Run/gdro"),
    )
    for step in range(12):
        plan = controller.plan(Request(32, 128, np.arange(32 * step, 32 * step + 32)))
        right = np.random.default_rng(step).random(128) < 0.1 + 0.25 * level[plan.prompt_R]
        outcome = Outcome(plan.ticket, plan.prompt_R, right.astype(float), right, np.full(128, 7))
        controller.observe(outcome)
    runs, _ = load_runs([tmp_path / "Run"])
    figure = calibrated(runs)
    assert figure is not None and "predicted from the columns of the predictor" in figure.reading
    titles = [panel.title for panel in figure.panels]
    assert titles[0].startswith("Spearman Run") and titles[1].startswith("First visits: Spearman Run 0.")
    plain = calibrated(load_runs([folder / "grpo"])[0])
    assert plain is not None and len(plain.panels) == 1


def test_one_step_is_enough(tmp_path: Path) -> None:
    play(tmp_path / "short", "prompt-gdro", steps=1, texts=False)
    page = write_report([tmp_path / "short"], tmp_path / "r.html", tmp_path / "png")
    found = re.findall(r'<section id="(\w+)">', page.read_text(encoding="utf-8"))
    # No prompt has a bin yet: what is drawn over the bins is left out.
    assert {"overview", "share", "learning", "prompts"} <= set(found)
    assert {"mean_bin", "mass", "entropy", "lead", "calibration"}.isdisjoint(found)


@pytest.mark.parametrize("name", [STEPS, GROUPS])
def test_a_line_cut_off_is_left_out(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder / "grpo/gdro", tmp_path / "cut")
    lines = (folder / f"grpo/gdro/{name}").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / name).write_text("".join(lines[:5]) + lines[5][:40])
    ((run), _) = load_runs([tmp_path / "cut"])
    assert run[0].num_steps == (5 if name == STEPS else 30)
    # Groups of a step that was cut off are no step's.
    assert run[0].visits is not None
    assert len(run[0].visits.prompt_V) == (5 * 32 if name == STEPS else 5)
    write_report([tmp_path / "cut"], tmp_path / "r.html")


def refusal(folder: Path) -> str:
    with pytest.raises((ReportError, LogError)) as error:
        for run in load_runs([folder])[0]:
            assert run.visits is not None
    return str(error.value)


def test_what_is_no_run_log_is_refused(folder: Path, tmp_path: Path, capsys) -> None:
    assert "has no steps.jsonl" in refusal(tmp_path)
    (tmp_path / STEPS).write_text("")
    assert "is empty; train at least one step" in refusal(tmp_path)
    (tmp_path / STEPS).write_text('{"a": 1}\n')
    assert "not a run log of gdro" in refusal(tmp_path)
    (tmp_path / STEPS).write_text("[1]\n")
    assert "not a record" in refusal(tmp_path)
    (tmp_path / STEPS).write_text((folder / "grpo/gdro/steps.jsonl").read_text() + "{broken}\n")
    assert "line 31 of" in refusal(tmp_path)
    (tmp_path / STEPS).write_text((folder / "grpo/gdro/steps.jsonl").read_text())
    assert "has no run.json" in refusal(tmp_path)
    shutil.copy(folder / "grpo/gdro/run.json", tmp_path / RUN)
    (tmp_path / GROUPS).write_text('{"ticket": 0}\n')
    assert f"line 1 of {tmp_path / GROUPS} lacks 'n'" in refusal(tmp_path)
    (tmp_path / RUN).write_text(json.dumps({"schema": SCHEMA + 1}))
    assert "upgrade gdro" in refusal(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    assert "upgrade gdro" in capsys.readouterr().err
