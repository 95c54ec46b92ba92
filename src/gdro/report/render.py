"""Specifications compiled by vl-convert: Vega for the page, PNG for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import vl_convert

from gdro.common.files import replacing
from gdro.report.panels import Figure, Key, Panel
from gdro.report.theme import CONFIG, SOFT, TOKENS, resolved

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_PNG_WIDTH = 400


@lru_cache(maxsize=1)
def vega_runtime() -> str:
    """JavaScript of Vega and `window.vegaEmbed`, from the wheel of vl-convert."""
    return vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]  # its stub lacks the default


def compiled(panel: Panel) -> dict[str, Any]:
    """A panel as Vega without data, as wide as its container."""
    config = CONFIG if panel.legend else {**CONFIG, "legend": {"disable": True}}
    size = {"width": "container", "height": panel.height, "padding": 2}
    fit = {"type": "fit", "contains": "padding", "resize": True}
    data = {"name": "table"}
    spec = {"$schema": SCHEMA, "config": config, "autosize": fit, "data": data, **size, **panel.spec}
    return vl_convert.vegalite_to_vega(spec)


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, its panels side by side, at twice the nominal size."""
    width = _PNG_WIDTH if min(len(figure.panels), figure.wide) > 1 else 2 * _PNG_WIDTH
    panels = [_with_data(panel, width, number) for number, panel in enumerate(figure.panels)]
    scales = {"scale": {"color": "independent", "strokeDash": "independent"}}
    parts: list[dict[str, Any]] = [{"concat": panels, "columns": figure.wide, "resolve": scales}]
    if figure.keys:
        parts.append(_legend(figure.keys))
    look = {"background": TOKENS["back"][0], "font": "sans-serif", "concat": {"spacing": 24}}
    if not any(panel.legend for panel in figure.panels):
        look["legend"] = {"disable": True}
    spec = {"$schema": SCHEMA, "config": {**CONFIG, **look}, "padding": 12, "vconcat": parts}
    picture = vl_convert.vegalite_to_png(resolved(json.dumps(spec)), scale=2)
    with replacing(path) as file:
        file.write(picture)


def rows_of(panel: Panel) -> list[dict[str, Any]]:
    """A panel's data, one dictionary a row."""
    return [
        dict(zip(panel.columns, row, strict=True)) for row in zip(*panel.columns.values(), strict=True)
    ]


def _with_data(panel: Panel, width: int, number: int) -> dict[str, Any]:
    # Names of selections are one space in a specification of several panels.
    drawn = json.loads(json.dumps(panel.spec).replace('"hover"', f'"hover{number}"'))
    size = {"title": panel.title, "width": width, "height": panel.height - 50}
    return {**size, "data": {"values": rows_of(panel)}, **drawn}


def _legend(keys: Sequence[Key]) -> dict[str, Any]:
    """The legend that the page writes as HTML: a stroke and a name each, in a row."""
    layer: list[dict[str, Any]] = []
    left = 0
    for key in keys:
        line = {"type": "rule", "color": key.colour, "strokeWidth": 4, "strokeDash": list(key.dash)}
        name = {"type": "text", "text": key.name, "align": "left", "fontSize": 12, "color": SOFT}
        layer.append({"mark": line, "encoding": _at(left) | {"x2": {"value": left + 28}}})
        layer.append({"mark": name, "encoding": _at(left + 34)})
        left += 58 + 7 * len(key.name)
    return {"width": left, "height": 16, "data": {"values": [{}]}, "layer": layer}


def _at(left: int) -> dict[str, Any]:
    return {"x": {"value": left}, "y": {"value": 8}}
