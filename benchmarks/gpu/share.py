"""Processes that share a GPU: CUDA's Multi-Process Service, where the driver has it.

Without it the processes of a GPU take turns. Kernels of a small model fill a part of the chip, and with
the service those of several processes run at the same time. It is a process of ours, not a setting of
the GPU, and it ends with the sitting, also when that is killed: a guard waits for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONTROL = "nvidia-cuda-mps-control"
_ALSO = "/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/lib/nvidia:/opt/nvidia/bin"
# Its standard input ends with the sitting.
_GUARD = (
    "import shutil, subprocess, sys; sys.stdin.read(); "
    "subprocess.run([sys.argv[1]], input='quit -t 2\\n', text=True, capture_output=True, timeout=10); "
    "shutil.rmtree(sys.argv[2], ignore_errors=True)"
)
_TRY = "import torch; assert float(torch.ones(8, device='cuda').sum()) == 8"


@contextmanager
def shared() -> Iterator[str]:
    """Inside, processes that are started share the GPU; yields what came of it, in words.

    Must be entered before this process uses the GPU.
    """
    control = shutil.which(CONTROL, path=f"{os.environ.get('PATH', '')}:{_ALSO}")
    if control is None:
        yield f"processes take turns: there is no {CONTROL} here"
        return
    folder = Path(tempfile.mkdtemp(prefix="mps-"))
    names = {f"CUDA_MPS_{name}_DIRECTORY": str(folder / name.lower()) for name in ("PIPE", "LOG")}
    for place in names.values():
        Path(place).mkdir()
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    alone: dict[str, Any] = {"start_new_session": True, "stderr": subprocess.DEVNULL}
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, control, str(folder)], stdin=subprocess.PIPE, **alone
    )
    try:
        fault = _start(control)
        if fault:
            _stop(control, names)
        yield f"processes take turns: {fault}" if fault else "processes share the GPU (MPS)"
    finally:
        _stop(control, names)
        guard.kill()
        guard.communicate()
        os.environ.update({name: value for name, value in before.items() if value is not None})
        shutil.rmtree(folder, ignore_errors=True)


def _start(control: str) -> str:
    """Start the service and let two processes use it at once; says what failed, empty if nothing."""
    try:
        begun = subprocess.run([control, "-d"], capture_output=True, text=True, timeout=20, check=False)
        if begun.returncode:
            return f"{CONTROL} ended with {begun.returncode}: {begun.stdout}{begun.stderr}".strip()
        tries = [subprocess.Popen([sys.executable, "-c", _TRY]) for _ in range(2)]
        try:
            codes = [one.wait(60) for one in tries]
        finally:
            for one in tries:
                one.kill()
    except (OSError, subprocess.TimeoutExpired) as fault:
        return f"{type(fault).__name__}: {fault}"
    return f"two processes that tried it ended with {codes}" if any(codes) else ""


def _stop(control: str, names: dict[str, str]) -> None:
    if not names.keys() <= os.environ.keys():
        return
    # It waits two seconds for servers.
    ask: dict[str, Any] = {"input": "quit -t 2\n", "text": True, "capture_output": True}
    try:
        done = subprocess.run([control], **ask, timeout=10, check=False)
        if done.returncode:
            print(f"{CONTROL} did not stop: {done.stdout}{done.stderr}", flush=True)
    except (OSError, subprocess.TimeoutExpired) as fault:
        print(f"{CONTROL} did not stop: {fault}", flush=True)
    for name in names:
        os.environ.pop(name, None)
