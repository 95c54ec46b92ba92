"""Verdicts as HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from gdro.report.verdicts.verdict import Verdict


def verdicts_html(verdicts: Sequence[Verdict], figures: Collection[str]) -> str:
    """The list at the top of the page; links lead to figures that the page has."""
    items = "".join(_item(verdict, verdict.link in figures) for verdict in verdicts)
    if all(verdict.severity == "good" for verdict in verdicts):
        items += '<li class="good"><span class="tag">Good</span><b>No fault found in the log.</b></li>'
    return f'<section id="verdicts"><h2>Verdict</h2><ul class="verdicts">{items}</ul></section>'


def _item(verdict: Verdict, linked: bool) -> str:
    link = f' <a href="#{verdict.link}">Look</a>' if linked else ""
    return (
        f'<li class="{verdict.severity}"><span class="tag">{verdict.severity.capitalize()}</span>'
        f"<b>{escape(verdict.words)}</b> {escape(verdict.evidence)}{link}</li>"
    )
