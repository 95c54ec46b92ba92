"""The server: this machine alone, two paths, made anew only when the log changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gdro.cli import main
from gdro.report.serve import ReportServer


@pytest.fixture
def server(folder: Path) -> Iterator[ReportServer]:
    with ReportServer([folder / "grpo"]) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server: ReportServer, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.server_address[1])
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_page_and_stamp(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, page = ask(server, "/")
    assert status == 200 and 'id="overview"' in page
    status, stamp = ask(server, "/stamp")
    assert status == 200 and f'data-stamp="{stamp}"' in page
    assert server.page() is server.page()


@pytest.mark.parametrize("path", ["/steps.jsonl", "/../secret", "/x", "/%2e%2e/x", "/stamp/"])
def test_nothing_else_is_served(server: ReportServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_hosts_are_refused(server: ReportServer, host: str) -> None:
    assert ask(server, "/", Host=host)[0] == 403


def test_stamp_follows_the_log(folder: Path, tmp_path: Path) -> None:
    with ReportServer([tmp_path]) as server:
        before = server.stamp()
        assert "Waiting for a first step" in server.page().decode()
        (tmp_path / "steps.jsonl").write_text((folder / "grpo/gdro/steps.jsonl").read_text())
        assert server.stamp() != before
        assert 'id="overview"' in server.page().decode()


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--serve", "-o", "x.html"]) == 2
    assert "writes no files" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "absent"), "--serve"]) == 2
    assert "is no folder" in capsys.readouterr().err
