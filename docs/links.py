"""Hook of the documentation site: links to files outside of docs become plain names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Pages link to files beside docs, which the site does not hold; the changelog links into docs."""
    if page.file.src_uri == "changelog.md":
        return CHANGELOG.read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", markdown)
