"""verl with gdro by `ray job submit`, whose `env_vars` name the plugins: `make chaos-verl` runs it.

The cluster was started earlier, and only the job's runtime environment names gdro.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from ray_cluster import RAY, cluster, free_port, wait

from gdro.dry_run.verl.launch import cpu_overrides, environment
from gdro.dry_run.verl.quickstart import prepare

LIMIT = 600  # seconds for the job
STEPS = 2
OVERRIDES = (
    "trainer.v1.trainer_mode=gdro",
    "+gdro.poll_interval=0.05",
    f"trainer.total_training_steps={STEPS}",
)


def submit(folder: Path, server: str) -> None:
    """Submit a run and follow it to its end."""
    common = [text for text in cpu_overrides(1) if "ray_kwargs" not in text]
    given = [*common, *prepare(folder, train_size=32), *OVERRIDES, f"hydra.run.dir={folder}"]
    # What this process does not have itself, and PYTHONPATH where the package is not installed.
    named = {k: v for k, v in environment({}).items() if k not in os.environ}
    named |= {k: os.environ[k] for k in ("PYTHONPATH",) if k in os.environ}
    command = [RAY, "job", "submit", "--address", server]
    command += ["--runtime-env-json", json.dumps({"env_vars": named}), "--"]
    command += [sys.executable, "-m", "verl.trainer.main_ppo", *given]
    log = folder.parent / "job.txt"

    def ended() -> bool:
        """Whether the job ran; the cluster takes none before its agent is there."""
        with log.open("w") as out:
            done = subprocess.run(command, stdout=out, stderr=out, timeout=LIMIT, check=False)
        text = log.read_text(errors="replace")
        assert not done.returncode or "No available agent" in text, text[-3000:]
        return not done.returncode

    wait(ended, LIMIT, "the job")


def main() -> None:
    # A cluster of its own, whatever token the user's clusters have.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name in ("VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM"):
        os.environ.pop(name, None)
    port = free_port()
    dashboard = ("--include-dashboard=true", f"--dashboard-port={port}")
    # Its own: another cluster of this machine may have the one that Ray takes, and no job would start.
    dashboard += (f"--dashboard-agent-listen-port={free_port()}",)
    with tempfile.TemporaryDirectory() as name, cluster(Path(name), *dashboard, nodes=1):
        submit(Path(name) / "run", f"http://127.0.0.1:{port}")
        steps = (Path(name) / "run/checkpoints/gdro/steps.jsonl").read_text().splitlines()
    assert len(steps) == STEPS, f"{len(steps)} of {STEPS} steps in the run log"
    print(f"a submitted job trained {STEPS} steps with gdro")


if __name__ == "__main__":
    main()
