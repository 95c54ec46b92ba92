"""The docs name every strategy and every document that they link to."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from gdro import list_strategies

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_functions_of_the_maths_page_exist() -> None:
    named = re.findall(r"`(gdro(?:\.\w+)+)`", (ROOT / "docs/maths.md").read_text())
    assert len(named) > 20
    for name in named:
        assert callable(pkgutil.resolve_name(name)), name


@pytest.mark.parametrize("name", sorted(set(list_strategies()) - {"joint"}))
def test_every_strategy_is_in_the_guide(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/strategies.md").read_text()
