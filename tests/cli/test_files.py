"""Files after public bug reports (`files.jsonl`): what `gdro data` and `gdro diagnose` say of each."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gdro.cli import main

CASES = [json.loads(line) for line in Path(__file__).with_name("files.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{'-'.join(case['files'])}")
def test_files(
    case: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in case["files"].items():
        packed = text.startswith("base64:")
        Path(name).write_bytes(base64.b64decode(text[7:]) if packed else text.encode())
    assert main(case["run"]) == case["status"]
    said = capsys.readouterr()
    assert case["said"] in (said.err if case["status"] else said.out)
    assert case["status"] == 0 or said.err.count("\n") == 1
