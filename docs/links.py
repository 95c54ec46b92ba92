"""Hook of the documentation site: links to files outside of docs become plain names."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Pages link to files beside docs, which the site does not hold; the changelog links into docs."""
    plain = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", markdown)
    return plain.replace("](docs/", "](")
