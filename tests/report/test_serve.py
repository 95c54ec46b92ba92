"""The server: this machine alone, two paths, made anew only when the log changes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from gdro.cli import main
from gdro.report import serve
from gdro.report.serve import ReportServer
from serving import running


@pytest.fixture
def server(folder: Path) -> Iterator[ReportServer]:
    made = ReportServer([folder / "grpo"])
    with running(made):
        yield made


def ask(server: ReportServer, path: str, token: str | None = None, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1])
    token = server.token if token is None else token
    connection.request("GET", f"/{token}{path}" if token else path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_page_and_stamp(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, page = ask(server, "/")
    assert status == 200 and 'id="overview"' in page
    status, stamp = ask(server, "/stamp")
    assert status == 200 and f'data-stamp="{stamp}"' in page
    assert server.page() is server.page()


def test_connections_beyond_a_limit_are_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReportServer, "most_connections", 3)
    made = ReportServer([folder / "grpo"])
    with running(made):
        idle = [socket.create_connection(made.server_address[:2], timeout=60) for _ in range(4)]
        assert idle[-1].recv(1) == b"", "closed at once, while the others wait for their requests"
        for connection in idle:
            connection.close()
        while made._free._value < 3:  # pyright: ignore[reportAttributeAccessIssue]
            threading.Event().wait(0.01)
        assert ask(made, "/stamp")[0] == 200


@pytest.mark.parametrize("path", ["/steps.jsonl", "/../secret", "/x", "/%2e%2e/x", "/stamp/"])
def test_nothing_else_is_served(server: ReportServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("token", ["", "x", "%00", "\u00e9", "a" * 5000, ".", "..", "token"])
@pytest.mark.parametrize("path", ["/", "/stamp", "/favicon.ico"])
def test_without_the_token_nothing_is_served(server: ReportServer, token: str, path: str) -> None:
    """Other users of the machine reach the port, and do not know the address."""
    status, answer = ask(server, path, quote(token, safe="%"))
    assert status == 404 and server.token not in answer and "overview" not in answer
    with ReportServer([]) as other:
        assert other.token != server.token and len(other.token) >= 20
        assert other.url.endswith(f"/{other.token}/")


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_request_that_never_ends_is_given_up(folder: Path, monkeypatch, sent: bytes) -> None:
    monkeypatch.setattr(serve, "SECONDS", 0.5)
    made = ReportServer([folder / "grpo"])
    with running(made):
        with socket.create_connection(made.server_address) as half:
            half.sendall(sent)
            assert ask(made, "/stamp")[0] == 200, "others are served meanwhile"
            half.settimeout(0.2)
            assert any(given_up(half) for _ in range(100)), "the server still waits"
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join(30)
                assert not thread.is_alive()


def given_up(half: socket.socket) -> bool:
    """Send a byte more, which makes no request either; whether the server has closed."""
    try:
        half.sendall(b"a")
        return half.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_hosts_are_refused(server: ReportServer, host: str) -> None:
    assert ask(server, "/", Host=host)[0] == 403


def test_stamp_follows_the_log(folder: Path, tmp_path: Path) -> None:
    with ReportServer([tmp_path]) as server:
        before = server.stamp()
        assert "Waiting for a first step" in server.page().decode()
        for name in ("run.json", "steps.jsonl"):
            (tmp_path / name).write_text((folder / "grpo/gdro" / name).read_text())
        assert server.stamp() != before
        assert 'id="overview"' in server.page().decode()


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--serve", "-o", "x.html"]) == 2
    assert "writes no files" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "absent"), "--serve"]) == 2
    assert "is not a folder" in capsys.readouterr().err
