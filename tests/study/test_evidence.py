"""The committed evidence: runs, results, study file and README tell the same story."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gdro.study import Study, load_study
from gdro.study.results import summarise
from gdro.study.runner import jobs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(ROOT / "studies/headline.yaml")


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return json.loads((ROOT / "results/headline.json").read_text())


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    with gzip.open(ROOT / "results/headline.runs.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_run_of_the_study_is_on_record(study, published, records) -> None:
    """A study is committed before it runs: until its results are there, some of its arms have none.

    From then on each job has its record, under the key of what the file asks for; never does a record
    stand under another one.
    """
    key = {(r["testbed"], r["arm"], r["seed"]): r["key"] for r in records}
    assert len(key) == len(records), "one record a testbed, arm and seed"
    missing = set()
    for job in jobs(study, explore=False):
        place = job.testbed, job.arm, job.seed
        if place not in key:
            missing.add(place)
        else:
            assert key[place] == job.key, place
    if set(published["arms"]) == set(study.arms) - {study.control}:
        assert not missing


def test_the_results_are_those_of_the_records(study, published, records) -> None:
    """All numbers, by the same code; what later versions add to the results is not asked of them."""
    seeds = defaultdict(set)
    for record in records:
        seeds[record["arm"], record["testbed"]].add(record["seed"])
    for arm, found in published["arms"].items():
        for bed, row in found.items():
            if bed in published["control_by_testbed"]:
                assert set(row["seeds"]) == seeds[arm, bed], (arm, bed)
    same(published, summarise(study, records), "results")


def same(wanted: Any, got: Any, where: str) -> None:
    assert type(wanted) is type(got), where
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in got, f"{where}.{name}"
            same(value, got[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(got), where
        for place, pair in enumerate(zip(wanted, got, strict=True)):
            same(*pair, f"{where}[{place}]")
    elif isinstance(wanted, float):
        assert math.isclose(wanted, got, rel_tol=0.0, abs_tol=1e-9), where
    else:
        assert wanted == got, where


def test_the_readme_says_what_the_results_say(published) -> None:
    """The headline effect with its interval; tokens, parts and easy prompts where it names them."""
    text = " ".join((ROOT / "README.md").read_text().split("\n## ")[0].split())
    arms = {name: row["heavy tail"] for name, row in published["arms"].items() if "heavy tail" in row}
    default, number = arms["gdro"], r"([+-]?\d*\.?\d+)"
    percent = {
        rf"\*\*pass@8 {number}%\*\*": default["pass8_rel_mean"],
        rf"\*\*pass@8 [^ ]+ \(95% interval {number} to": default["ci_low"],
        rf"\*\*pass@8 [^ ]+ \(95% interval [^ ]+ to {number}\b": default["ci_high"],
    }
    for pattern, value in percent.items():
        (written,) = re.findall(pattern, text)
        said(written, 100 * value)
    also = {
        f"{number}% at equal tokens generated and trained on": 100 * default["equal_all_tokens"]["mean"],
        rf"Easy prompts gain {number} points": default["easy"]["mean"],
        rf"Easy prompts gain [^ ]+ points \({number} to": default["easy"]["low"],
        rf"Easy prompts gain [^ ]+ points \([^ ]+ to {number}\)": default["easy"]["high"],
    }
    for name, arm in (("Rollout-GDRO", "rollout-gdro"), ("Prompt-GDRO", "prompt-gdro")):
        with_memory, alone = arms[f"{arm}-memory"]["pass8_rel_mean"], arms[arm]["pass8_rel_mean"]
        also[f"{name} with the memory: {number}%"] = 100 * with_memory
        also[rf"{name} with the memory: [^ ]+ \(alone {number}%\)"] = 100 * alone
    for pattern, value in also.items():
        for written in re.findall(pattern, text):
            said(written, value)


def said(written: str, value: float) -> None:
    """Rounded to the decimals that are written."""
    decimals = len(written.partition(".")[2])
    assert abs(float(written) - value) <= 0.5 * 10**-decimals + 1e-9, (written, value)
