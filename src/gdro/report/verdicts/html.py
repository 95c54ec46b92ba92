"""Verdicts as HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from gdro.report.verdicts.verdict import Verdict

_TAGS = {"warning": "Warning", "note": "Note", "good": "Good"}


def verdicts_html(verdicts: Sequence[Verdict], figures: Collection[str]) -> str:
    """The list that opens the page; links lead to figures that the page has."""
    items = []
    for verdict in verdicts:
        link = f' <a href="#{verdict.link}">Look</a>' if verdict.link in figures else ""
        items.append(
            f'<li class="{verdict.severity}"><span class="tag">{_TAGS[verdict.severity]}</span>'
            f"<b>{escape(verdict.words)}</b> {escape(verdict.evidence)}{link}</li>"
        )
    if all(verdict.severity == "good" for verdict in verdicts):
        items.append(
            '<li class="good"><span class="tag">Good</span><b>No fault found in the log.</b></li>'
        )
    return (
        '<section id="verdicts"><h2>Verdict</h2><ul class="verdicts">'
        + "".join(items)
        + "</ul></section>"
    )
