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
# The headline study has 1,248 runs, as many as all others together.
STUDIES = (
    "grading",
    "default",
    "rivals",
    "filtering",
    pytest.param("headline", marks=pytest.mark.weekly),
)


@pytest.fixture(scope="module", params=STUDIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def study(name: str) -> Study:
    return load_study(ROOT / f"studies/{name}.yaml")


@pytest.fixture(scope="module")
def published(name: str) -> dict[str, Any]:
    return read(name)


@pytest.fixture(scope="module")
def records(name: str) -> list[dict[str, Any]]:
    with gzip.open(ROOT / f"results/{name}.runs.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / f"results/{name}.json").read_text())


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


# What README says of each group of testbeds, in this order.
CLAIM = (
    r"pass@8 {n}% \({n} to {n}\), mean@8 {n}% \({n} to {n}\), easy prompts {n} points \({n} to {n}\)"
).replace("{n}", r"([+-]?\d*\.?\d+)")


def test_the_readme_says_what_the_results_say() -> None:
    """The default under both gradings, then gdro-tail: pass@8, mean@8, easy prompts, with intervals."""
    text = " ".join((ROOT / "README.md").read_text().split("\n## ")[0].split())
    claims = re.findall(CLAIM, text.replace("**", ""))
    places = [(arm, group) for arm in ("gdro", "gdro-tail") for group in ("whole work", "final answer")]
    assert len(claims) == len(places)
    for (arm, group), written in zip(places, claims, strict=True):
        row = read("default" if arm == "gdro" else "grading")["arms"][arm][group]
        pass8 = [100 * row[part] for part in ("pass8_rel_mean", "ci_low", "ci_high")]
        mean8 = [100 * row["mean8_rel"][part] for part in ("mean", "low", "high")]
        easy = [row["easy"][part] for part in ("mean", "low", "high")]
        for number, value in zip(written, [*pass8, *mean8, *easy], strict=True):
            said(number, value)


def said(written: str, value: float) -> None:
    """Rounded to the decimals that are written."""
    decimals = len(written.partition(".")[2])
    assert abs(float(written) - value) <= 0.5 * 10**-decimals + 1e-9, (written, value)
