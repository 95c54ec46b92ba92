"""Plans and metrics of today are those on record; see regenerate.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from regenerate import GOLDEN, STRATEGIES, VARIANTS, trajectory

from gdro import list_strategies


def test_every_built_in_strategy_has_a_record():
    assert set(STRATEGIES) <= set(list_strategies())
    assert {p.stem for p in GOLDEN.glob("*.json")} == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_trajectory(variant):
    record = json.loads((GOLDEN / f"{variant}.json").read_text())
    now = trajectory(variant)
    assert now["plans"] == record["plans"]
    assert now["metrics"].keys() >= record["metrics"].keys()  # further ones may join
    for name, value in record["metrics"].items():
        # Rounding may differ between machines, plans may not.
        assert now["metrics"][name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
