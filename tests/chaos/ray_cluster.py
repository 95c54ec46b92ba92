"""A cluster of Ray on this machine, started before verl and without knowing gdro."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gdro.dry_run.verl.launch import environment

RAY = str(Path(sys.executable).parent / "ray")


@contextmanager
def cluster(folder: Path, *dashboard: str, nodes: int = 2) -> Iterator[str]:
    """Nodes of Ray, each with the resources of one rank; yields the address.

    Args:
        folder: Where the cluster writes.
        dashboard: Options of its dashboard; none: it has no dashboard.
        nodes: Number of nodes.
    """
    address = f"127.0.0.1:{free_port()}"
    own = ("--block", "--num-cpus=16", "--num-gpus=1", "--disable-usage-stats")
    port = address.rpartition(":")[2]
    # In a folder of its own: elsewhere Ray leaves a note of this cluster, which later runs would join.
    own_ip = "--node-ip-address=127.0.0.1"
    head = (
        "--head",
        f"--port={port}",
        own_ip,
        *(dashboard or ("--include-dashboard=false",)),
        f"--temp-dir={folder / 'ray'}",
    )
    # As a cluster that knows nothing of gdro.
    plain = {k: v for k, v in environment(os.environ, ()).items() if not k.startswith("VERL_")}
    running = []
    with (folder / "ray.txt").open("wb") as log:
        try:
            for number, given in enumerate([head, *[(f"--address={address}",)] * (nodes - 1)], 1):
                command = [RAY, "start", *given, *own]
                node = subprocess.Popen(
                    command, env=plain, stdout=log, stderr=log, start_new_session=True
                )
                running.append(node)
                wait(lambda number=number: started(folder) == number, 180, f"node {number} of Ray")
            yield address
        finally:
            for node in reversed(running):
                node.terminate()
            for node in running:
                node.wait(60)


def started(folder: Path) -> int:
    """Nodes that said so."""
    return (folder / "ray.txt").read_text(errors="replace").count("will now block forever")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)
