"""Plots that the figures are made of: lines, heat maps, bars and stacks, as Vega-Lite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gdro.report.panels import (
    MOST_CELLS,
    Axes,
    Column,
    Panel,
    Series,
    bin_names,
    edges,
    rounded,
    thinned,
)
from gdro.report.theme import TEXT


def line_panel(title: str, series: Sequence[Series], axes: Axes, height: int = 230) -> Panel:
    """Lines with their own x; a point's tooltip names its line and both values."""
    columns: dict[str, Column] = {"x": [], "y": [], "line": []}
    for one in series:
        columns["x"] += rounded(one.x)
        columns["y"] += rounded(one.y)
        columns["line"] += [one.name] * len(one.x)
    colour = {
        "field": "line", "type": "nominal", "title": None,
        "scale": {"domain": [s.name for s in series], "range": [s.colour for s in series]},
    }  # fmt: skip
    names = [s.name for s in series]
    encoding: dict[str, Any] = {
        "x": _position("x", axes.x, axes.x_domain, axes.log),
        "y": _position("y", axes.y, axes.y_domain, zero=axes.y_zero),
        "color": colour,
    }
    drawn = {
        "mark": {"type": "line", "interpolate": "monotone", "clip": True, "strokeWidth": 2},
        "encoding": {
            "strokeDash": {
                "field": "line", "type": "nominal", "title": None,
                "scale": {"domain": names, "range": [list(s.dash) for s in series]},
            },
        },
    }  # fmt: skip
    points = {
        "mark": {"type": "point", "filled": True, "size": 70, "clip": True, "opacity": 1},
        "params": [_hover()],
        "encoding": {
            "opacity": {"condition": {"param": "hover", "empty": False, "value": 1}, "value": 0},
            "tooltip": [
                {"field": "line", "type": "nominal", "title": "line"},
                {"field": "x", "type": "quantitative", "title": axes.x, "format": ",.5~r"},
                {"field": "y", "type": "quantitative", "title": axes.y, "format": axes.format},
            ],
        },
    }
    spec = {"encoding": encoding, "layer": [drawn, points], **axes.extra}
    return Panel(title, spec, columns, {"line": "line", "x": axes.x, "y": axes.y}, height)


def heat_panel(
    title: str, value_SC: np.ndarray, unit: str, domain: Sequence[float], *, diverging: bool = False,
    format: str = ".3~f",
) -> Panel:  # fmt: skip
    """A value by step and bin: hard bins at the bottom, unseen prompts below them."""
    bounds = edges(len(value_SC), MOST_CELLS)
    cell_TC = thinned(value_SC, MOST_CELLS)
    names = bin_names(cell_TC.shape[1] - 1)
    step_T, place_T = np.nonzero(np.isfinite(cell_TC))
    columns = {
        "from": bounds[step_T].tolist(),
        "to": bounds[step_T + 1].tolist(),
        "bin": [names[place] for place in place_T],
        "value": rounded(cell_TC[step_T, place_T]),
    }
    scale: dict[str, Any] = {"scheme": "viridis", "domain": list(domain)}
    if diverging:
        scale = {"scheme": "purpleorange", "domain": list(domain), "domainMid": 1}
    encoding = {
        "x": {"field": "from", "type": "quantitative", "title": "step",
              "axis": {"grid": False, "tickCount": 5},
              "scale": {"domain": [0, len(value_SC)], "nice": False}},
        "x2": {"field": "to"},
        "y": {"field": "bin", "type": "ordinal", "title": "bin (0 hardest)", "sort": names[::-1],
              "scale": {"domain": names[::-1], "padding": 0}, "axis": {"domain": False}},
        "color": {"field": "value", "type": "quantitative", "title": unit, "scale": scale},
        "tooltip": [
            {"field": "bin", "type": "ordinal", "title": "bin"},
            {"field": "from", "type": "quantitative", "title": "from step"},
            {"field": "to", "type": "quantitative", "title": "to step"},
            {"field": "value", "type": "quantitative", "title": unit, "format": format},
        ],
    }  # fmt: skip
    spec = {"mark": {"type": "rect", "aria": False}, "encoding": encoding}
    heads = {"bin": "bin", "from": "from step", "to": "to step", "value": unit}
    return Panel(title, spec, columns, heads, 270, legend=True)


def bar_panel(
    title: str, bars: Sequence[tuple[str, str, float, Sequence[float] | None]], axes: Axes,
    colours: Mapping[str, str], height: int = 230,
) -> Panel:  # fmt: skip
    """Grouped bars of (x, group, value, interval or None)."""
    columns: dict[str, Column] = {
        "x": [b[0] for b in bars], "group": [b[1] for b in bars], "value": rounded(b[2] for b in bars),
        "low": rounded(b[3][0] if b[3] else np.nan for b in bars),
        "high": rounded(b[3][1] if b[3] else np.nan for b in bars),
    }  # fmt: skip
    order = list(dict.fromkeys(columns["x"]))
    groups = list(colours)
    tooltip = [
        {"field": "group", "type": "nominal", "title": "run"},
        {"field": "x", "type": "nominal", "title": axes.x or "slice"},
        {"field": "value", "type": "quantitative", "title": axes.y, "format": axes.format},
    ]
    with_interval = any(b[3] for b in bars)
    if with_interval:
        tooltip += [
            {"field": name, "type": "quantitative", "title": f"95% {name}", "format": axes.format}
            for name in ("low", "high")
        ]
    value = _position("value", axes.y, axes.y_domain, zero=True)
    layer: list[dict[str, Any]] = [
        {"mark": {"type": "bar"}, "encoding": {"y": value, "tooltip": tooltip, "color": {
            "field": "group", "type": "nominal", "title": None,
            "scale": {"domain": groups, "range": list(colours.values())}}}},
    ]  # fmt: skip
    if with_interval:
        rule = {"type": "rule", "color": TEXT, "aria": False}
        layer.append(
            {"mark": rule, "encoding": {"y": {**value, "field": "low"}, "y2": {"field": "high"}}}
        )
    spec = {
        "encoding": {
            "x": {"field": "x", "type": "ordinal", "title": axes.x or None, "sort": order,
                  "axis": {"labelAngle": 0, "labelLimit": 110, **axes.extra}},
            "xOffset": {"field": "group", "type": "nominal", "sort": groups},
        },
        "layer": layer,
    }  # fmt: skip
    heads = {"x": axes.x or "slice", "group": "run", "value": axes.y}
    heads |= {"low": "95% low", "high": "95% high"} if with_interval else {}
    return Panel(title, spec, columns, heads, height)


def stack_panel(title: str, x: Any, parts: Sequence[Series], axes: Axes, height: int = 230) -> Panel:
    """Areas on top of each other; the first is at the bottom."""
    columns: dict[str, Column] = {"x": [], "y": [], "part": [], "order": []}
    for number, part in enumerate(parts):
        columns["x"] += rounded(x)
        columns["y"] += rounded(part.y)
        columns["part"] += [part.name] * len(part.y)
        columns["order"] += [number] * len(part.y)
    encoding = {
        "x": _position("x", axes.x, axes.x_domain),
        "y": {**_position("y", axes.y, axes.y_domain), "stack": "zero"},
        "order": {"field": "order", "type": "quantitative"},
        "color": {"field": "part", "type": "nominal", "title": None, "scale": {
            "domain": [p.name for p in parts], "range": [p.colour for p in parts]}},
    }  # fmt: skip
    # An area is one mark with one tooltip; thin bars under the pointer answer for their own step.
    hover = {
        "mark": {"type": "bar", "width": {"band": 1}, "opacity": 0, "aria": False},
        "encoding": {"tooltip": [
            {"field": "part", "type": "nominal", "title": "part"},
            {"field": "x", "type": "quantitative", "title": axes.x, "format": ",.5~r"},
            {"field": "y", "type": "quantitative", "title": axes.y, "format": axes.format},
        ]},
    }  # fmt: skip
    spec = {"encoding": encoding, "layer": [{"mark": {"type": "area", "opacity": 0.85}}, hover]}
    return Panel(title, spec, columns, {"part": "part", "x": axes.x, "y": axes.y}, height)


def rule_at(value: float) -> dict[str, Any]:
    """A thin horizontal line across a plot, as a further layer."""
    mark = {
        "type": "rule",
        "strokeDash": [4, 4],
        "color": "var(--soft)",
        "strokeWidth": 1,
        "aria": False,
    }
    across = {"x": {"value": 0}, "x2": {"value": "width"}, "y": {"datum": value}}
    plain = {"color": {"value": "var(--soft)"}}
    return {"mark": mark, "encoding": across | plain, "data": {"values": [{}]}}


def _hover() -> dict[str, Any]:
    return {
        "name": "hover",
        "select": {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": False},
    }


def _position(
    name: str, title: str, domain: Sequence[float] | None, log: bool = False, zero: bool = False
) -> dict[str, Any]:
    scale: dict[str, Any] = {"zero": zero, "nice": domain is None}
    if domain is not None:
        scale["domain"] = list(domain)
    if log:
        scale |= {"type": "log", "zero": False}
    axis = {"tickCount": 5}
    return {"field": name, "type": "quantitative", "title": title, "scale": scale, "axis": axis}
