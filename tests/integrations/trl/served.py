"""AsyncGRPOTrainer on a CPU: stand-ins for vLLM's server, FA3's attention and the other process."""

from __future__ import annotations

import json
import random
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import agents
import pytest
import tiny
import torch
import torch.nn.functional as F
import trl.experimental.async_grpo.async_rollout_worker as seam
from datasets import Dataset
from trl.experimental.async_grpo import AsyncGRPOConfig, async_grpo_trainer, packing

from serving import running

DIGITS = range(tiny.ALPHABET.index("0"), tiny.ALPHABET.index("9") + 1)


class Server:
    """Answers as vLLM does; what it answers depends on the prompt and on how often that was asked."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[int, ...]] = Counter()
        self._lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        handler: Any = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._running = ExitStack()
        self._running.enter_context(running(self._http))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        prompt = tuple(request["prompt"])
        with self._lock:
            self.requests.append(request)
            self._asked[prompt] += 1
            rng = random.Random(f"{prompt} {self._asked[prompt]}")
        ids = [rng.choice(DIGITS) for _ in range(rng.randint(1, request["max_tokens"] - 1))] + [1]
        return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [-2.5] * len(ids)}}]}

    def close(self) -> None:
        self._running.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: Server

    def do_GET(self) -> None:
        self._send({"data": [{"max_model_len": 64}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server_of.answer(json.loads(body)))

    def _send(self, data: dict[str, Any]) -> None:
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def attention(
    q: Any, k: Any, v: Any, cu_q: Any, cu_k: Any, *_: Any, softmax_scale: Any, **__: Any
) -> Any:
    """Causal attention of ragged segments, aligned at their ends, as FA3's."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    parts = []
    for (a, b), (c, d) in zip(pairwise(cu_q.tolist()), pairwise(cu_k.tolist()), strict=True):
        mask = torch.ones(b - a, d - c, dtype=torch.bool).tril(d - c - (b - a))
        rows = [x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d])]
        part = F.scaled_dot_product_attention(*rows, attn_mask=mask, scale=softmax_scale)
        parts.append(part.transpose(0, 1))
    return torch.cat(parts)


class NoTransfer:
    """Leaves the server's weights alone."""

    def init_weight_transfer(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def destroy(self) -> None: ...
    def send_weights(self, iterator: Any) -> None:
        for _ in iterator:
            pass


class ThreadContext:
    """A context whose processes are threads: importing torch anew takes ten seconds."""

    def Process(self, target: Any, args: Any, name: str, daemon: bool) -> Any:
        thread: Any = threading.Thread(target=target, args=args, name=name, daemon=daemon)
        thread.pid, thread.exitcode, thread._popen = 0, None, object()
        thread.terminate = thread.kill = lambda: None
        return thread


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what needs a GPU, vLLM's package or the hub."""
    kernel = SimpleNamespace(flash_attn_varlen_func=attention)
    monkeypatch.setattr(packing, "_flash_attn", lambda: kernel)
    monkeypatch.setattr(async_grpo_trainer, "get_peak_flops_per_device", lambda *_: None)
    monkeypatch.setattr(seam, "is_vllm_available", lambda: True)


def in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rollouts be made in a thread of this process."""
    original = seam.AsyncRolloutWorker.__init__

    def init(self: Any, **kwargs: Any) -> None:
        original(self, **kwargs)
        self._mp_ctx = ThreadContext()

    monkeypatch.setattr(seam.AsyncRolloutWorker, "__init__", init)
    monkeypatch.setattr(seam, "_scrub_child_env", lambda: None)


def dataset(num: int = 12) -> Dataset:
    return tiny.dataset(num, conversational=True)


def lucky(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return tiny.lucky(completions, answer)


def config(server: Server, **changes: Any) -> AsyncGRPOConfig:
    own = {
        "max_steps": 3,
        "token_budget": 0,
        "vllm_server_base_url": server.url,
        "vllm_server_timeout": 5.0,
    }
    return AsyncGRPOConfig(**tiny.options(**(own | changes)))


def saved_model() -> str:
    folder = tempfile.mkdtemp()
    agents.untaught().save_pretrained(folder)
    return folder


def make(cls: Any, server: Server, options: dict[str, Any] | None = None, **given: Any) -> Any:
    arguments = {
        "model": saved_model(),
        "reward_funcs": lucky,
        "args": config(server, **(options or {})),
        "train_dataset": dataset(),
        "processing_class": agents.tokenizer(),
        "weight_transfer": NoTransfer(),
    }
    return cls(**(arguments | given))


def steps(trainer: Any) -> list[dict[str, Any]]:
    path = Path(trainer.args.output_dir) / "gdro/steps.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]
