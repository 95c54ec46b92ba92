"""Public signatures change only on purpose: see `public.py` beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import public

PINNED = Path(__file__).parents[1] / "fixtures/signatures.txt"


def test_signatures_are_those_that_were_pinned() -> None:
    found = [*public.lines(), *public.adapter(), *public.command_line()]
    assert found == PINNED.read_text().splitlines(), public.__doc__
    assert len(found) > 180
    for beginning in (
        "Controller(",
        "study.run_study(",
        "rewards.math_reward(",
        "data.load(",
        "gdro train --",
    ):
        assert any(line.strip().startswith(beginning) for line in found), beginning
