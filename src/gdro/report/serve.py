"""The report over HTTP on this machine alone, written again while training goes on."""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gdro.errors import GdroError
from gdro.log.run_log import GROUPS, RUN, STEPS
from gdro.report.load import load_runs, log_folders
from gdro.report.page import page_html, report_html

LOOPBACK = "127.0.0.1"
SECONDS = 10.0
"""Time that a client has to send its whole request."""


class ReportServer(ThreadingHTTPServer):
    """Answers `/TOKEN/` with the page of some runs and `/TOKEN/stamp` with a text that changes too.

    Args:
        directories: Run folders, which may still be empty.
        port: Port of the loopback interface; 0 takes a free one. Every user of this machine can reach
            it, so the address holds a token, new for each server, without which nothing is answered.
        seconds: Time between a page's requests for changes.
    """

    daemon_threads = True
    most_connections = 64
    """Connections at a time; further ones are closed at once."""

    def __init__(self, directories: Sequence[Path], port: int = 0, seconds: float = 3.0) -> None:
        self.directories = list(directories)
        self.seconds = seconds
        self._lock = threading.Lock()
        self.token = secrets.token_urlsafe(16)
        self._rendered: tuple[str, bytes] = ("", b"")
        self._free = threading.Semaphore(self.most_connections)
        super().__init__((LOOPBACK, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: any user of the machine can reset a connection."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @property
    def url(self) -> str:
        """Address of the page, with its token."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.token}/"

    def stamp(self) -> str:
        """A text that changes whenever the logs do."""
        digest = blake2b(digest_size=8)
        for directory in self.directories:
            files = [log / name for log in log_folders(directory) for name in (STEPS, GROUPS, RUN)]
            files += [directory / "summary.json"]
            for path in files:
                if path.exists():
                    stat = path.stat()
                    digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def page(self) -> bytes:
        """The page, rendered again only if the logs have changed."""
        with self._lock:
            stamp = self.stamp()
            if stamp != self._rendered[0]:
                self._rendered = stamp, self._page(stamp).encode("utf-8", "replace")
            return self._rendered[1]

    def _page(self, stamp: str) -> str:
        live = (
            f'<p><span id="live" role="status" data-seconds="{self.seconds:g}" data-stamp="{stamp}">'
            "live</span></p>"
        )
        try:
            return report_html(*load_runs(self.directories), live=live)[0]
        except GdroError as error:  # training has not written its first step yet, or a line is damaged
            text = f"{live}<p>Waiting for a first step: {escape(str(error))}</p>"
            return page_html(", ".join(d.name for d in self.directories), text, [], None, ["live.js"])


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = SECONDS  # of each read and write

    def setup(self) -> None:
        super().setup()
        # A client that sends a byte now and then must not hold a thread either.
        self._deadline = threading.Timer(SECONDS, self._give_up)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        self._deadline.cancel()
        super().finish()

    def _give_up(self) -> None:
        with suppress(OSError):  # it is closed already
            self.connection.shutdown(2)  # both ways

    def do_GET(self) -> None:
        self._deadline.cancel()  # the request is complete; rendering may take longer
        asked = self.path.split("/")[1] if self.path.startswith("/") else ""
        # A page of another site that resolves to this machine must not read the run.
        if (self.headers.get("Host") or "").rsplit(":", 1)[0] not in (LOOPBACK, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "served to this machine alone")
        elif not secrets.compare_digest(asked.encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND, "open the address that gdro report printed")
        elif self.path == f"/{asked}/":
            self._answer("text/html; charset=utf-8", self.server.page())
        elif self.path == f"/{asked}/stamp":
            self._answer("text/plain; charset=utf-8", self.server.stamp().encode())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a page asks every few seconds."""
