"""A server in OpenAI's protocol whose every reply is what a function makes of the request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import running

Reply = tuple[int, Any]
Answer = Callable[[dict[str, Any]], Reply]


def asked(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


def good(body: dict[str, Any]) -> dict[str, Any]:
    """The right answer to "What is 3 + 1?"."""
    one, other = re.findall(r"([0-9]+) \+ ([0-9]+)", asked(body))[-1]
    text = f"\\boxed{{{int(one) + int(other)}}}"
    choice = (
        {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
    )
    return {"choices": [{"finish_reason": "stop", **choice}], "usage": {"completion_tokens": 5}}


class Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            self.server.bodies.append(body)
            status, reply = self.server.answer(body)
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(answer: Answer) -> Iterator[Any]:
    """A server with its `url` and the `bodies` of requests so far."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.turn, server.bodies = answer, threading.Lock(), []
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    with running(server):
        yield server
