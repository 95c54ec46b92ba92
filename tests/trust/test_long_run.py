"""A thousand steps of the default strategy with its log, as `make chaos` takes ten thousand."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import long_run
from gdro import RunLog, default_strategy


def test_a_thousand_steps_stay_finite_and_exact(tmp_path: Path) -> None:
    run = long_run.taken(default_strategy(long_run.MEAN), 1000, RunLog(tmp_path))
    assert run.steps == 1000
    long_run.check(run)
