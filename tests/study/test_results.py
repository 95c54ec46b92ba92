"""What a study's records come to, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_study import TWO_BEDS, config, record

from gdro.study import load_study
from gdro.study.results import markdown, summarise


def test_effects_by_hand(tmp_path: Path) -> None:
    """A tenth better everywhere; and an arm that spends twice, read at the control's rollouts."""
    study = load_study(config(tmp_path, TWO_BEDS))
    values = {100: 0.4, 101: 0.5, 102: 0.6}
    records = []
    for bed in ("chains", "other"):
        for seed, value in values.items():
            records += [
                record("grpo", seed, value, bed),
                record("random", seed, 1.1 * value, bed),
                record("placebo", seed, 1.2 * value, bed, rollouts=200),
            ]
    found = summarise(study, records)["arms"]
    assert found["random"]["chains"]["pass8_rel_mean"] == pytest.approx(0.1)
    assert found["random"]["all testbeds"]["pass8_rel_mean"] == pytest.approx(0.1)
    assert found["random"]["all testbeds"]["mean8_rel"]["mean"] == pytest.approx(0.1)
    assert found["placebo"]["all testbeds"]["mean8_rel"]["mean"] == pytest.approx(-0.4)
    assert found["random"]["chains"]["wins"] == 3
    assert found["placebo"]["chains"]["pass8_rel_mean"] == pytest.approx(-0.4)
    assert found["random"]["chains"]["worst_slice"]["points"] == pytest.approx(0.0)
    assert found["random"]["chains"]["worst_slice_mean8"] == {"slice": "easy", "points": 0.0}
    assert all(0 <= row["p_holm"] <= 1 for arm in found.values() for row in arm.values())
    assert np.isfinite(found["random"]["chains"]["equal_tokens"]["mean"])


def test_the_worst_slice_by_hand(tmp_path: Path) -> None:
    """Half as good as .4 on one testbed and .8 on the other: an eighth of .2 and of .4 in the tail."""
    study = load_study(config(tmp_path, TWO_BEDS))
    records = [
        record(arm, seed, value * factor, bed)
        for arm, factor in (("grpo", 1.0), ("random", 0.5))
        for bed, value in (("chains", 0.4), ("other", 0.8))
        for seed in (100, 101)
    ]
    found = summarise(study, records)["arms"]["random"]
    for place, points in (("chains", -2.5), ("other", -5.0), ("all testbeds", -3.75)):
        worst = found[place]["worst_slice_mean8"]
        assert worst["slice"] == "tail" and worst["points"] == pytest.approx(points)
        assert found[place]["easy"]["low"] == 0.0
    assert "| tail -3.8 |" in markdown(summarise(study, records))


def test_luck_is_counted_over_runs(tmp_path: Path) -> None:
    """Shares of sums, not means of shares; kinds without any are absent."""
    study = load_study(config(tmp_path, TWO_BEDS))
    luck = {"fresh": 10, "fresh_wrong": 1, "replays": 0, "replays_wrong": 0, "anchors": 4}
    records = [
        {**record(arm, seed, 0.5), "luck": {**luck, "anchors_wrong": 2, "fresh": fresh}}
        for arm in ("grpo", "random")
        for seed, fresh in ((100, 10), (101, 30))
    ]
    row = summarise(study, records)["arms"]["random"]["chains"]
    assert row["fresh_luck"] == pytest.approx(2 / 40) and row["anchors_luck"] == pytest.approx(0.5)
    assert "replays_luck" not in row
    assert "5% / - / 50%" in markdown(summarise(study, records))


def with_updates(record, updates, **more):
    """A record whose optimiser steps grow with its rollouts."""
    last = record["curve"][-1]["rollouts"]
    curve = [point | {"updates": updates * point["rollouts"] / last} for point in record["curve"]]
    return record | {"curve": curve, "updates": updates} | more


def test_equal_optimiser_steps_by_hand(tmp_path: Path) -> None:
    """An arm with twice the steps and a tenth better is read at half of its curve: 45% worse."""
    study = load_study(config(tmp_path, TWO_BEDS))
    records = [
        with_updates(record(arm, seed, value, bed), updates)
        for bed in ("chains", "other")
        for seed in (100, 101)
        for arm, value, updates in (("grpo", 0.4, 100), ("random", 0.44, 200), ("placebo", 0.4, 100))
    ]
    summary = summarise(study, records)
    assert summary["arms"]["random"]["chains"]["equal_updates"]["mean"] == pytest.approx(-0.45)
    assert summary["arms"]["placebo"]["all testbeds"]["equal_updates"]["mean"] == pytest.approx(0.0)
    assert "-45.0% (-45.0% to -45.0%)" in markdown(summary)
    older = [record(arm, seed, 0.4) for arm in ("grpo", "random") for seed in (100, 101)]
    assert "equal_updates" not in summarise(study, older)["arms"]["random"]["chains"]


def test_the_worst_source_and_the_rollouts_of_spoilt_prompts(tmp_path: Path) -> None:
    """The source that lost most, and a starved one: rollouts over the share of the pool."""
    study = load_study(config(tmp_path))
    sources = {"grpo": {"0": 0.8, "50": 0.4}, "random": {"0": 0.82, "50": 0.3}}
    records = [
        record(arm, seed, 0.4)
        | {"sources": {name: {"mean8": value, "pass8": value} for name, value in of.items()}}
        | {"spoilt_share": 0.4 if arm == "random" else 1.0}
        for arm, of in sources.items()
        for seed in (100, 101)
    ]
    summary = summarise(study, records)
    row = summary["arms"]["random"]["chains"]
    assert row["worst_source"] == {"source": "50", "points": pytest.approx(-10.0)}
    assert row["spoilt_share"] == pytest.approx(0.4)
    text = markdown(summary)
    assert "| 50 -10.0 | 0.40x |" in text and "| 1.00x |" in text
    grouped = load_study(config(tmp_path, TWO_BEDS))
    other = [r | {"testbed": "other", "sources": {"9": r["sources"]["0"]}} for r in records]
    arms = summarise(grouped, [*records, *other])["arms"]["random"]
    assert arms["other"]["worst_source"]["source"] == "9"
    assert "worst_source" not in arms["all testbeds"]
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "every row has a cell for every head"
