"""Files with the columns that the sets have on the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, list], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows as lines of JSON; a text is written as it is."""

    def made(name: str, rows: list) -> Path:
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines))
        return path

    return made
