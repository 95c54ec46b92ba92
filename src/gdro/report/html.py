"""Pieces of HTML; every text that comes from a log or a user goes through `escape`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from gdro.report.panels import Figure, Key
from gdro.report.theme import css


def asset(name: str) -> str:
    """Text of a file in `assets`."""
    return (files("gdro.report") / "assets" / name).read_text(encoding="utf-8")


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts that scrolls where the screen is narrow."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    lines = ["".join(f"<td>{escape(c)}</td>" for c in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure_html(figure: Figure, first: int) -> str:
    """A figure's section; its panels are numbered from `first` on."""
    numbers = range(first, first + len(figure.panels))
    least = {1: 560, 2: 380, 3: 300}.get(figure.wide, 230)
    paper = f" <span>(paper, {escape(figure.paper)})</span>" if figure.paper else ""
    panels = "".join(
        f'<div class="panel"><h3>{escape(panel.title)}</h3><div class="view" role="img" '
        f'aria-label="{escape(f"{figure.title}: {panel.title}")}" data-panel="{number}" '
        f'style="height:{panel.height}px"></div></div>'
        for number, panel in zip(numbers, figure.panels, strict=True)
    )
    return (
        f'<section id="{figure.name}"><h2>{escape(figure.title)}</h2>'
        f'<p class="reading">{escape(figure.reading)}{paper}</p>{keys_html(figure.keys)}'
        f'<div class="panels" style="--least:{least}px">{panels}</div>'
        f'<details data-panels="{" ".join(map(str, numbers))}"><summary>Numbers: '
        f"{escape(figure.title)}</summary></details></section>"
    )


def keys_html(keys: Sequence[Key]) -> str:
    """A legend."""
    items = "".join(
        '<li><svg width="30" height="10" aria-hidden="true"><line x1="0" y1="5" x2="30" y2="5" '
        f'stroke-width="4" style="stroke:{key.colour}" stroke-dasharray="{_dashes(key.dash)}"/></svg>'
        f"{escape(key.name)}</li>"
        for key in keys
    )
    return f'<ul class="keys" aria-label="Legend">{items}</ul>' if items else ""


def contents(entries: Sequence[tuple[str, str]]) -> str:
    """Links to (anchor, title)."""
    items = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in entries)
    return f'<nav aria-label="Figures"><ul>{items}</ul></nav>'


def document(title: str, main: str, blobs: dict[str, str], scripts: Sequence[str]) -> str:
    """The whole page: its contents, packed data by id, and scripts."""
    data = "".join(
        f'<script type="text/plain" id="{name}">{text}</script>' for name, text in blobs.items()
    )
    code, notice = "\n".join(scripts), asset("vega-license.txt")
    return (
        f'<!doctype html>\n<!--\n{notice}-->\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>gdro: {escape(title)}</title>"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<style>{css()}\n{asset('page.css')}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f'<main id="main">{main}</main><dl id="tooltip" role="status" hidden></dl>'
        "<noscript><p>The figures need JavaScript; <code>gdro report RUN --png DIR</code> writes them "
        f"as pictures.</p></noscript>{data}<script>{code}</script></body></html>\n"
    )


def _dashes(dash: Sequence[int]) -> str:
    return "none" if len(dash) < 2 or dash[1] == 0 else " ".join(map(str, dash))
