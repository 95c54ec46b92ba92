"""Progress on a terminal and in a file."""

from __future__ import annotations

import io
import sys

import pytest

from gdro.common.progress import Lines, bar


def test_a_bar_in_a_file_is_a_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(bar(range(500), desc="evaluating", unit="run", leave=False)) == list(range(500))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, "the start and the end"
    assert lines[0].startswith("evaluating:   0%")
    assert "500/500" in lines[1]
    monkeypatch.setattr("gdro.common.progress.SECONDS", 0.0)
    list(bar(range(5)))
    assert len(capsys.readouterr().err.splitlines()) > 4, "a line whenever the time is up"


def test_a_bar_on_a_terminal_writes_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(bar(range(3), desc="study"))
    assert "\r" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_lines_keep_what_is_shown_alone() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    for text in ("\r 10% of it   ", "\r", "", "\n", "\rdone\n"):
        lines.write(text)
    lines.flush()
    assert stream.getvalue() == "10% of it\ndone\n"
