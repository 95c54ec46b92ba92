"""GDROTrainer on two ranks: an engine each, a server for both, one engine over both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "ranks.py"


EACH = ("server-rollout-gdro", "server-dapo", "colocate-default", "colocate-rollout-gdro")
BOTH = ("colocate-rollout-gdro", "colocate-dapo")


@pytest.mark.parametrize(("mode", "runs"), [("data-parallel", EACH), ("tensor-parallel", BOTH)])
def test_two_ranks(
    mode: str, runs: tuple[str, ...], server: str, model_folder: Path, tmp_path: Path
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    given = [str(SCRIPT), mode, str(model_folder), str(tmp_path), server]
    done = subprocess.run([*launch, *given], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    for name in runs:
        first, second = ((tmp_path / f"{name}-{rank}").read_text() for rank in (0, 1))
        assert first == second, f"the ranks of {name} differ"
