"""The tables of sittings: effects of few pairs, what each arm generated, and mistakes in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks/gpu/table.py"
KEPT = ROOT / "results/gsm8k"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def printed(*arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a markdown table by its heads; of heads with one name the first counts."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    heads = rows[0]
    return [dict(reversed(list(zip(heads, row, strict=True)))) for row in rows[2:]]


def line(arm: str, seed: int, score: float, k: int = 2, **more: object) -> dict:
    scores = {f"mean@{k}": score, f"pass@{k}": score, f"pass@{2 * k}": score}
    part = {"name": "hardest (base p < .02)", "num_prompts": 4, f"ci_pass@{k}": [0, 1], **scores}
    about = {"base": "b", "arm": arm, "seed": seed, "step": 2, "seconds": 4.0, "rollouts": 64}
    return {**about, "tokens": 9, **scores, "slices": [part], "curves": {"step_time": [1.0]}, **more}


def sitting(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def test_effects_are_those_of_students_t() -> None:
    import effects

    for degrees in (1, 2, 8, 29, 30, 100):
        assert effects.t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=2e-4)
    changes = [0.07, -0.01, -0.05]
    low, high = stats.t.interval(0.95, 2, np.mean(changes), stats.sem(changes))
    over = effects.effect(changes)
    assert (over.mean - over.half, over.mean + over.half) == pytest.approx((low, high), abs=1e-4)
    assert str(over) == "+0.3% (-14.8% to +15.5%; 3 pairs)"
    assert str(effects.effect([0.07])) == "+7.0% (1 pair)"
    assert effects.pairs_needed(0.06) == 18 and effects.pairs_needed(0.0) == 2
    num = effects.pairs_needed(0.2)
    half = [stats.t.ppf(0.975, n - 1) * 0.2 / n**0.5 for n in (num - 1, num)]
    assert half[0] > 0.03 >= half[1]


@pytest.mark.parametrize("num", [3, 5])
def test_an_interval_of_few_pairs_holds_the_mean_as_often_as_it_says(num: int) -> None:
    import effects

    draws = np.random.default_rng(0).normal(0.0, 0.06, (4000, num))
    over = [effects.effect(row) for row in draws.tolist()]
    assert np.mean([abs(one.mean) <= one.half for one in over]) == pytest.approx(0.95, abs=0.015)


def test_rollouts_and_changes_of_arms(tmp_path: Path) -> None:
    lines = [line("grpo", seed, 0.5) for seed in (0, 1)]
    lines += [line("dapo", seed, 0.5 + 0.1 * seed, rollouts=320) for seed in (0, 1)]
    lines += [line("dapo", 2, 0.9)]
    table = printed(sitting(tmp_path / "s.jsonl", lines))
    table, note = table.split("\n\n")
    grpo, dapo = cells(table)
    assert (grpo["rollouts"], dapo["rollouts"]) == ("64", "320")
    assert dapo["pairs"] == "2" and dapo["pass@2 change"].endswith("; 2 pairs)")
    assert "dapo seed 2 at step 2" in note
    assert "rollouts" in printed("--slices", tmp_path / "s.jsonl").splitlines()[0]


def test_arms_without_a_control_are_shown_without_changes(tmp_path: Path) -> None:
    table = printed(sitting(tmp_path / "s.jsonl", [line("gdro", 0, 0.5)]))
    table, note = table.split("\n\n")
    assert cells(table)[0]["pass@2"] == "0.500" and "change" not in table
    assert "No run of `grpo`" in note
    assert "There is no pair" in printed("--pairs", tmp_path / "s.jsonl")


def test_what_was_not_sampled_or_cannot_be_divided_is_no_number(tmp_path: Path) -> None:
    path = sitting(tmp_path / "s.jsonl", [line("grpo", 0, 0.0), line("gdro", 0, 0.0)])
    for option in ([], ["--pairs"], ["--slices"]):
        table = printed(*option, path)
        assert "nan" not in table and "?" not in table and "pass@4" in table and "pass@16" not in table
    assert "control is 0" in printed(path)


def test_seconds_are_apart_by_how_many_trained_at_once(tmp_path: Path) -> None:
    turns = {"sharing": "processes take turns", "processes": 2}
    shared = {"sharing": "processes share the GPU (MPS)", "processes": 4}
    lines = [line("grpo", 0, 0.5, **turns), line("grpo", 1, 0.5, seconds=6.0, **shared)]
    (row,) = cells(printed(sitting(tmp_path / "s.jsonl", lines)))
    assert row["s a step"] == "2.00 (2 at once, in turns) / 3.00 (4 at once, MPS)"


def test_figures_of_the_docs_are_printed_from_the_records() -> None:
    sittings, summaries = sorted(KEPT.glob("*.jsonl")), sorted(KEPT.glob("*.speed.json"))
    base = cells(printed("--base", *summaries))[0]
    figures = (base["pass@1"], base["pass@8"], base["pass@16"], base["solved in none"], base["problems"])
    assert figures == ("0.066", "0.301", "0.428", "108", "256")
    each, over = printed("--pairs", *sittings).split("\n\n")
    assert len(cells(each)) == 6
    first = next(row for row in cells(each) if row["seed"] == "1" and row["step"] == "100")
    assert (first["pass@8"], first["entropy"]) == ("-0.9%", "0.59 to 0.34")
    assert (first["lucky: fresh"], first["replayed"]) == ("10.2%", "6.7%")
    wanted = {"step": "100", "arm": "all arms", "change of": "pass@8"}
    row = next(row for row in cells(over) if wanted.items() <= row.items())
    assert (row["standard deviation"], row["95% interval"], row["pairs for 3%"]) == (
        *("6.0%", "+-14.9%"),
        "18",
    )


def test_mistakes_are_one_line_with_the_fix(tmp_path: Path) -> None:
    whole = sitting(tmp_path / "whole.jsonl", [line("grpo", 0, 0.5)])
    cut = tmp_path / "cut.jsonl"
    cut.write_text(whole.read_text() + whole.read_text()[:40])
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    other = sitting(tmp_path / "other.jsonl", [{"text": "a"}])
    far = sitting(tmp_path / "far.jsonl", [line("grpo", 0, 0.5, k=8)])
    binary = tmp_path / "runs.tar.gz"
    binary.write_bytes(b"\x1f\x8b\xff")
    summary = next(KEPT.glob("*.speed.json"))
    for given, what in (
        ([tmp_path / "absent"], "cannot be read (No such file or directory)"),
        ([tmp_path], "cannot be read (Is a directory)"),
        ([cut], "line 2 is cut off or damaged; remove that line"),
        ([empty], "holds no evaluation"),
        ([other], "line 1 is no evaluation of a sitting (it lacks 'arm')"),
        ([whole, far], "the files have different k"),
        ([binary], "is not text"),
        ([summary], "--base"),
        (["--base", whole], "has no figures of a base"),
        (["--base", cut], "is not the speed.json"),
    ):
        said = printed(*given, status=1)
        assert said.startswith("table.py: ") and len(said.splitlines()) == 1 and what in said, said
