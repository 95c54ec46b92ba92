"""Colours of page and PNG: each has a value for light and one for dark."""

from __future__ import annotations

import re

# Okabe and Ito's palette, safe for colour-blind readers; on dark ground the deep ones are lighter.
_RUNS = (
    ("#5c5c66", "#b4b4c0"),
    ("#0072b2", "#4aa8e0"),
    ("#d55e00", "#f08a3c"),
    ("#00815f", "#2bc49a"),
    ("#b0568b", "#dd96bd"),
    ("#9a6a00", "#e6b03c"),
    ("#2f93c4", "#8fd0f5"),
)
TOKENS = {
    "text": ("#1b1b1f", "#e8e8ee"),
    "soft": ("#5a5a65", "#adadba"),
    "back": ("#ffffff", "#16161a"),
    "card": ("#f7f7f9", "#1e1e24"),
    "line": ("#dcdce2", "#3a3a44"),
    "link": ("#005f9e", "#6cb8f0"),
    **{f"run-{i}": pair for i, pair in enumerate(_RUNS)},
    "base": ("#b9b9c4", "#71717d"),
    "wrong": ("#d55e00", "#f08a3c"),
    "mixed": ("#e9c500", "#f0e442"),
    "right": ("#00815f", "#2bc49a"),
    "warn": ("#9a4500", "#f5a35c"),
    "good": ("#006b4f", "#2bc49a"),
}
# What tells runs apart without colour.
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 4], [1, 3])
SOFT, TEXT, LINE = "var(--soft)", "var(--text)", "var(--line)"

_TITLES = {"labelColor": SOFT, "titleColor": SOFT, "titleFontWeight": "normal", "labelFontSize": 11}
_LINES = {"gridColor": LINE, "domainColor": LINE, "tickColor": LINE, "gridOpacity": 0.6}
_GRADIENT = {"gradientLength": 120, "gradientThickness": 8}
_BELOW = {"orient": "bottom", "direction": "horizontal", "titleOrient": "left"}
CONFIG = {
    "background": None,
    "font": "system-ui, Segoe UI, Helvetica, Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {**_TITLES, **_LINES, "titleFontSize": 12, "labelOverlap": True},
    "legend": {
        **_TITLES,
        **_GRADIENT,
        **_BELOW,
        "titleFontSize": 11,
        "titleLimit": 160,
        "labelLimit": 200,
    },
    "title": {"color": TEXT, "subtitleColor": SOFT, "fontSize": 13, "anchor": "start"},
}


def run_colour(number: int) -> str:
    """Colour of a run, the same in every figure."""
    return f"var(--run-{number % len(_RUNS)})"


def css() -> str:
    """The colours as CSS variables, light and dark."""
    light, dark = (";".join(f"--{name}:{pair[i]}" for name, pair in TOKENS.items()) for i in (0, 1))
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}:root[data-theme=light]{{color-scheme:light}}"
    )


def resolved(text: str) -> str:
    """A specification with the light colours in place of CSS variables."""
    return re.sub(r"var\(--([a-z0-9-]+)\)", lambda match: TOKENS[match[1]][0], text)
