"""Checkpoints and run logs of every release load, and training goes on as it would have then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import gdro
import helpers as h
from fixtures import make
from gdro import RunLog
from gdro.log.run_log import GROUPS, STEPS, read_jsonl

FIXTURES = Path(make.__file__).parent
FOLDERS = sorted(p.parent for p in FIXTURES.glob("*/*/gdro.npz"))
ALL = pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: f"{p.parent.name}-{p.name}")


def test_this_release_has_fixtures():
    assert gdro.__version__ in {p.parent.name for p in FOLDERS}, "run tests/fixtures/make.py"


@ALL
def test_a_checkpoint_goes_on(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    c = make.controller(folder.name, RunLog(tmp_path / "run"))
    assert c.load(tmp_path / "run/gdro.npz").same
    expected = json.loads((folder / "expected.json").read_text())
    assert c.belief.visits_N.tolist() == expected["visits"]
    assert c.belief.bin_N.tolist() == expected["bins"]
    ledger = c.ledger.as_dict()
    assert {name: ledger[name] for name in expected["ledger"]} == expected["ledger"]
    assert c.open_tickets == expected["open"]
    plan = c.plan(h.request())
    assert np.array_equal(plan.prompt_P, expected["prompts"])
    assert np.array_equal(plan.rollouts_P, expected["rollouts"])
    h.close(c, plan)
    tickets = [record["ticket"] for record in read_jsonl(tmp_path / "run" / STEPS)]
    assert tickets == [0, 1, 2, 3, 4, 6]


@ALL
def test_a_log_is_read(folder):
    steps, groups = (list(read_jsonl(folder / name)) for name in (STEPS, GROUPS))
    assert [step["ticket"] for step in steps] == list(range(5))
    assert {"metrics", "bins", "ledger", "applied"} <= set(steps[0])
    assert {"ticket", "key", "bin", "n", "successes", "weight", "reward", "tokens"} <= set(groups[0])
    assert {group["key"] for group in groups} <= set(h.KEYS)
