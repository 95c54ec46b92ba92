"""verl on two nodes of Ray, and kills of its driver, a worker and a rollout replica.

`make chaos-verl` runs it. Both nodes are on this machine (`ray start` twice), and main_ppo joins the
cluster, which was started earlier and knows nothing of gdro. A run is killed three times with SIGKILL
and resumed; checkpoints of controller and memory and the log must equal those of an unbroken run.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
from ray_cluster import cluster, wait

from gdro.dry_run.verl.launch import cpu_overrides, start
from gdro.dry_run.verl.quickstart import prepare
from gdro.memory.store import STORE_FILE

STATE_FILE = "gdro.npz"  # imported, it would import verl
MARK = "GDRO_CHAOS"  # a variable that every process of the cluster inherits
LIMIT = 900  # seconds for a run
PATIENCE = 240  # seconds in which a run must notice that a process is gone
VICTIMS = {"driver": "", "worker": "ray::WorkerDict", "replica": "ray::CpuServer"}
STEPS = 2 * len(VICTIMS) + 2
OVERRIDES = (
    "trainer.nnodes=2",
    "trainer.v1.trainer_mode=gdro",
    "+gdro.strategy='rollout-gdro + memory'",
    "+gdro.poll_interval=0.05",
    "trainer.save_freq=1",
    "trainer.resume_mode=auto",
    f"trainer.total_training_steps={STEPS}",
)


def processes(name: str) -> list[psutil.Process]:
    """Ray's processes of this cluster whose title starts so."""
    found = []
    for process in psutil.process_iter():
        try:
            title = " ".join(process.cmdline())
            if title.startswith(name) and process.environ().get(MARK) == os.environ[MARK]:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def busy() -> bool:
    """Whether the cluster still has an actor of a run."""
    return any(
        " ".join(process.cmdline()) != "ray::IDLE" for process in processes("ray::") if actor(process)
    )


def actor(process: psutil.Process) -> bool:
    try:
        return not any(word in " ".join(process.cmdline()) for word in ("Agent", "IDLE"))
    except psutil.NoSuchProcess:
        return False


def train(folder: Path, address: str, victim: str = "", after: int = 0, seed: int = 0) -> None:
    """Run main_ppo to its end, or until a process was killed after the checkpoint of a step."""
    common = [text for text in cpu_overrides(1) if "ray_kwargs" not in text]
    log = folder / f"log-{victim or 'end'}.txt"
    given = [*common, *prepare(folder, train_size=32), *OVERRIDES]
    process = start(given, folder, log, variables={"RAY_ADDRESS": address})
    saved = folder / "checkpoints/latest_checkpointed_iteration.txt"
    try:
        if victim:
            reached = lambda: saved.exists() and int(saved.read_text()) >= after  # noqa: E731
            wait(lambda: reached() or process.poll() is not None, LIMIT, f"step {after}")
            assert process.poll() is None, f"the run ended before it was killed: {log}"
            time.sleep(random.Random(seed).uniform(0, 2))
            target = process.pid if victim == "driver" else processes(VICTIMS[victim])[-1].pid
            os.kill(target, signal.SIGKILL)
            begun = time.monotonic()
            wait(lambda: process.poll() is not None, PATIENCE, f"main_ppo after its {victim} was killed")
            print(
                f"{victim} killed after step {after}: ended with {process.returncode} in "
                f"{time.monotonic() - begun:.0f} s",
                flush=True,
            )
            assert process.returncode, "a run without its processes must not look finished"
        else:
            wait(lambda: process.poll() is not None, LIMIT, "the run")
            assert process.returncode == 0, log.read_text(errors="replace")[-3000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    wait(lambda: not busy(), 120, "Ray clearing the run away")


def same(whole: Path, killed: Path) -> list[str]:
    """Files that differ between two runs."""
    step = f"checkpoints/global_step_{STEPS}"
    names = [f"{step}/{STATE_FILE}", f"{step}/{STORE_FILE}"]
    names += [f"checkpoints/gdro/{name}" for name in ("steps.jsonl", "groups.jsonl")]
    return [name for name in names if (whole / name).read_bytes() != (killed / name).read_bytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    os.environ[MARK] = str(uuid.uuid4())
    # A cluster of its own, whatever token the user's clusters have.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as address:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        train(whole, address)
        for number, victim in enumerate(VICTIMS):
            train(killed, address, victim, 2 * number + 2, options.seed + number)
        train(killed, address)
        differing = same(whole, killed)
    print(
        f"{len(VICTIMS)} kills, {len(VICTIMS) + 2} runs on two nodes, {time.monotonic() - begun:.0f} s"
    )
    sys.exit(f"differ from an unbroken run: {', '.join(differing)}" if differing else 0)


if __name__ == "__main__":
    main()
