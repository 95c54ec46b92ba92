"""A vLLM server with one worker, which takes weights from files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def serving(model: Path, log: Path) -> Iterator[str]:
    """Address of a server that is starting; it and its worker end with the context."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"),
        *("--max-model-len", "64", "--logprobs-mode", "processed_logprobs"),
        *("--worker-extension-cls", "server_weights.FromFile"),
    ]
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Development endpoints carry the weights.
    given = os.environ | {"PYTHONPATH": path, "VLLM_SERVER_DEV_MODE": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=given, stdout=file, stderr=file, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None, f"the server ended: {log.read_text()[-3000:]}"
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server, and its worker if it leaves that behind."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]
