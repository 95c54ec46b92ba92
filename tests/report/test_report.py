"""The report from real run logs: complete, self-contained, and safe against hostile names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gdro import Controller, Outcome, Problem, Request, RunLog, make_strategy
from gdro.report import ReportError, write_report
from gdro.report.load import load_runs

HOSTILE = "<script>alert(1)</script>"


def play(folder: Path, strategy: str, steps: int = 30) -> None:
    rate = np.random.default_rng(0).beta(0.4, 0.6, 200)
    keys = [f"{HOSTILE}{i}" for i in range(200)]
    log = RunLog(folder / "gdro")
    controller = Controller(make_strategy(strategy), Problem(prompt_keys=keys), seed=1, log=log)
    for step in range(steps):
        plan = controller.plan(Request(32, 128))
        right = np.random.default_rng([2, step]).random(128) < rate[plan.prompt_R]
        outcome = Outcome(plan.ticket, plan.prompt_R, right.astype(float), right, np.full(128, 7))
        controller.weigh(outcome)
        controller.observe(outcome, extra={"step": step})


def record(value: float) -> dict:
    entry = {"pass@8": value, "mean@8": value / 2, "ci_pass@8": [value - 0.1, value + 0.1]}
    return {**entry, "slices": [{"name": "hard & few", "num_prompts": 9, **entry}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    arms = {}
    for name, strategy in (("rollout-gdro", "rollout-gdro"), ("grpo", "uniform"), ("both", "joint")):
        play(out / name, strategy)
        arms[name] = {**record(0.4321), "rollouts": 3840, "tokens": 26880, "seconds": 1.5}
    summary = {"recipe": HOSTILE, "seed": 0, "base": record(0.2), "arms": arms}
    (out / "summary.json").write_text(json.dumps(summary))
    return out


def test_page_is_complete_and_self_contained(folder: Path, tmp_path: Path) -> None:
    page = write_report([folder], tmp_path / "r.html", tmp_path / "png").read_text(encoding="utf-8")
    for title in ("Rollouts per prompt", "Weight per bin", "Prompt share", "Learning curves",
                  "Shadow price", "Held-out evaluation", "Groups with"):  # fmt: skip
        assert title in page
    assert "0.432" in page and "3,840" in page and "hard &amp; few" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert len(page) < 5 * 2**20
    names = {p.stem for p in (tmp_path / "png").glob("*.png")}
    assert {"overview", "rollouts", "weights", "share", "learning", "heldout"} <= names


def test_log_is_read_back_as_written(folder: Path) -> None:
    runs, _ = load_runs([folder])
    assert [r.name for r in runs] == ["grpo", "both", "rollout-gdro"]
    for run in runs:
        assert run.bins["prompts"].shape == (30, 11)
        assert (run.bins["prompts"].sum(axis=1) == 32).all()
        spent = np.nansum(run.bins["prompts"] * run.bins["rollouts"], axis=1)
        assert np.allclose(spent, 128)
        assert run.ledger["tokens"][-1] == 30 * 128 * 7


def test_single_runs_side_by_side(folder: Path, tmp_path: Path) -> None:
    runs = [folder / "grpo", folder / "both/gdro"]
    page = write_report(runs, tmp_path / "two.html").read_text(encoding="utf-8")
    assert "grpo 30 steps, both 30 steps" in page


def test_folders_without_a_log_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"has no steps\.jsonl"):
        write_report([tmp_path], tmp_path / "r.html")
    (tmp_path / "steps.jsonl").write_text("")
    with pytest.raises(ReportError, match="is empty"):
        write_report([tmp_path], tmp_path / "r.html")


def test_a_line_cut_off_is_left_out(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "grpo/gdro/steps.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "steps.jsonl").write_text("".join(lines[:5]) + lines[5][:40])
    runs, _ = load_runs([tmp_path])
    assert runs[0].num_steps == 5
