"""Generation through a real HTTP server that speaks OpenAI's protocol, with a real model behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from gdro.cli import main
from gdro.data import prompts
from gdro.evaluation import EvaluationError, Options, evaluate
from gdro.evaluation.server import ServerGenerator
from gdro.evaluation.transformers import TransformersGenerator
from gdro.tasks import chains
from serving import running

OPTIONS = Options(samples=2, max_new_tokens=6, batch_size=8, style="plain")


class Server(ThreadingHTTPServer):
    """Serves one model; `faults` are statuses that it answers with first."""

    def __init__(self, generator: TransformersGenerator) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.generator, self.turn = generator, threading.Lock()
        self.faults: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.usage = True
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            self.server.bodies.append({**body, "key": self.headers["Authorization"]})
            if self.server.faults:
                return self._say(self.server.faults.pop(), {"error": {"message": "too busy"}})
            if body["model"] != "tiny":
                return self._say(404, {"error": {"message": f"no model {body['model']}"}})
            options = replace(OPTIONS, max_new_tokens=body["max_tokens"], top_p=body["top_p"])
            talk = self.path == "/v1/chat/completions"
            prompt = body["messages" if talk else "prompt"]
            ((text, tokens),) = self.server.generator.generate([prompt], options, body["seed"])
        message = {"message": {"role": "assistant", "content": text}} if talk else {"text": text}
        reply = {
            "id": "1",
            "created": 0,
            "model": "tiny",
            "object": "chat.completion" if talk else "text_completion",
            "choices": [{"index": 0, "finish_reason": "stop", **message}],
        }
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
        self._say(200, {**reply, "usage": usage} if self.server.usage else reply)

    def _say(self, status: int, reply: dict[str, Any]) -> None:
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Retry-After-Ms", "1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def task() -> Any:
    return chains.load(train_size=8, heldout_size=30)


@pytest.fixture(scope="module")
def generator(task) -> TransformersGenerator:
    task.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return TransformersGenerator(task.model, task.tokenizer, "tiny")


@pytest.fixture
def server(generator) -> Iterator[Server]:
    made = Server(generator)
    with running(made):
        yield made


@pytest.fixture(scope="module")
def table(task) -> Dataset:
    return Dataset.from_list([{**row, "source": "chains"} for row in task.heldout.select(range(24))])


def test_a_server_gives_what_its_model_gives(server: Server, table: Dataset, tmp_path: Path) -> None:
    records = evaluate(ServerGenerator(server.url, "tiny"), {"s": table}, tmp_path, OPTIONS)
    right = [ok for record in records for ok in record.right]
    assert 0.2 < sum(right) / len(right) < 0.6  # the warm start solves two fifths
    assert all(1 <= n <= 6 for record in records for n in record.tokens)
    assert len(server.bodies) == 48 and len({body["seed"] for body in server.bodies}) == 48
    # A request's seed is what the answer depends on, not its turn.
    again = evaluate(ServerGenerator(server.url, "tiny"), {"s": table}, tmp_path / "again", OPTIONS)
    assert again == records


def test_conversations_go_to_the_chat(server: Server, generator, table: Dataset, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    talks = prompts(table.select(range(5)), "chat", "")["prompt"][:]
    found = ServerGenerator(server.url, "tiny").generate(talks, replace(OPTIONS, top_p=0.5), 7)
    body = server.bodies[0]
    assert body["messages"][0]["role"] == "user" and body["key"] == "Bearer secret"
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (1.0, 0.5, 6)
    by_prompt = {b["messages"][0]["content"]: b for b in server.bodies}
    for talk, (text, tokens, _) in zip(talks, found, strict=True):
        seed = by_prompt[talk[0]["content"]]["seed"]
        assert [(text, tokens)] == generator.generate([talk], replace(OPTIONS, top_p=0.5), seed)


def test_a_busy_server_is_asked_again(server: Server, table: Dataset) -> None:
    server.faults = [429, 503, 500]
    asked = ServerGenerator(server.url, "tiny").generate(table["prompt"][:2], OPTIONS, 0)
    assert len(asked) == 2 and len(server.bodies) == 5


def test_what_a_server_refuses_is_said_and_the_rest_goes_on(
    server: Server, table: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=r"127.0.0.1:\d+/v1 did not .* 'huge': .*no model huge"):
        ServerGenerator(server.url, "huge").generate(["1"], OPTIONS, 0)
    whole = evaluate(ServerGenerator(server.url, "tiny"), {"s": table}, tmp_path / "whole", OPTIONS)
    server.faults = [500] * 2
    server.bodies.clear()
    mortal = ServerGenerator(server.url, "tiny", retries=0)
    with pytest.raises(EvaluationError, match="too busy; the same command continues from here"):
        evaluate(mortal, {"s": table}, tmp_path / "cut", OPTIONS)
    server.faults = []
    assert evaluate(mortal, {"s": table}, tmp_path / "cut", OPTIONS) == whole
    server.usage = False
    assert [answer.tokens for answer in mortal.generate(["1"], OPTIONS, 0)] == [None]
    server.shutdown()
    server.server_close()
    with pytest.raises(EvaluationError, match=r"Connection (refused|reset)"):
        mortal.generate(["1"], OPTIONS, 0)


def test_the_command(server: Server, task, tmp_path: Path, capsys, monkeypatch) -> None:
    data = tmp_path / "chains.jsonl"
    rows = [{"prompt": r["prompt"], "answer": r["answer"]} for r in task.heldout]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    command = [
        "eval",
        "--model",
        "tiny",
        "--data",
        str(data),
        "--samples",
        "2",
        "--max-new-tokens",
        "6",
        "--style",
        "plain",
        "--instruction",
        "",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--server", server.url]) == 0
    assert "chains mean@2" in capsys.readouterr().out and len(server.bodies) == 12
    for wrong, why in (
        (["--server", server.url, "--backend", "vllm"], "leave out --backend"),
        (["--backend", "vllm"], "vLLM is not installed"),
    ):
        assert main([*command, *wrong]) == 2
        assert why in capsys.readouterr().err
