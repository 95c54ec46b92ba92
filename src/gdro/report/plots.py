"""Plots that the figures are made of: lines, heat maps, bars and stacks, as Vega-Lite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gdro.report import panels
from gdro.report.panels import Axes, Column, Panel, Series, rounded
from gdro.report.theme import SOFT, TEXT

Channel = dict[str, Any]


def quantity(field: str, title: str, **more: Any) -> Channel:
    """A channel of numbers."""
    return {"field": field, "type": "quantitative", "title": title, **more}


def category(field: str, title: str | None, kind: str = "nominal", **more: Any) -> Channel:
    """A channel of names, which have an order if the kind is `ordinal`."""
    return {"field": field, "type": kind, "title": title, **more}


def line_panel(title: str, series: Sequence[Series], axes: Axes, height: int = 230) -> Panel:
    """Lines, each with its own x; the tooltip of a point names its line and both values."""
    columns: dict[str, Column] = {"x": [], "y": [], "line": []}
    for one in series:
        columns["x"] += rounded(one.x)
        columns["y"] += rounded(one.y)
        columns["line"] += [one.name] * len(one.x)
    names = [one.name for one in series]
    encoding = {
        "x": _position("x", axes.x, axes.x_domain),
        "y": _position("y", axes.y, axes.y_domain, axes.y_zero),
        "color": _named("line", names, [one.colour for one in series]),
    }
    line = {
        "mark": {"type": "line", "interpolate": "monotone", "clip": True, "strokeWidth": 2},
        "encoding": {"strokeDash": _named("line", names, [list(one.dash) for one in series])},
    }
    hover = {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": False}
    visible = {"condition": {"param": "hover", "empty": False, "value": 1}, "value": 0}
    points = {
        "mark": {"type": "point", "filled": True, "size": 70, "clip": True, "opacity": 1},
        "params": [{"name": "hover", "select": hover}],
        "encoding": {"opacity": visible, "tooltip": _tooltip("line", axes)},
    }
    spec = {"encoding": encoding, "layer": [line, points]}
    return Panel(title, spec, columns, {"line": "line", "x": axes.x, "y": axes.y}, height)


def heat_panel(
    title: str, value_SC: np.ndarray, unit: str, domain: Sequence[float], **scale: Any
) -> Panel:
    """A value by step and bin: hard bins at the bottom, unseen prompts below them."""
    bounds = panels.edges(len(value_SC), panels.MOST_CELLS)
    cell_TC = panels.thinned(value_SC, panels.MOST_CELLS)
    names = panels.bin_names(cell_TC.shape[1] - 1)
    step_T, place_T = np.nonzero(np.isfinite(cell_TC))
    columns = {
        "from": bounds[step_T].tolist(),
        "to": bounds[step_T + 1].tolist(),
        "bin": [names[place] for place in place_T],
        "value": rounded(cell_TC[step_T, place_T]),
    }
    colours = {"scheme": "viridis", "domain": list(domain), **scale}
    steps = {"domain": [0, len(value_SC)], "nice": False}
    bins = {
        "sort": names[::-1],
        "scale": {"domain": names[::-1], "padding": 0},
        "axis": {"domain": False},
    }
    encoding = {
        "x": quantity("from", "step", axis={"grid": False, "tickCount": 5}, scale=steps),
        "x2": {"field": "to"},
        "y": category("bin", "bin (0 hardest)", "ordinal", **bins),
        "color": quantity("value", unit, scale=colours),
        "tooltip": [
            category("bin", "bin", "ordinal"),
            quantity("from", "from step"),
            quantity("to", "to step"),
            quantity("value", unit, format=".3~f"),
        ],
    }
    spec = {"mark": {"type": "rect", "aria": False}, "encoding": encoding}
    heads = {"bin": "bin", "from": "from step", "to": "to step", "value": unit}
    return Panel(title, spec, columns, heads, 270, legend=True)


Bar = tuple[str, str, float, Sequence[float] | None]


def bar_panel(
    title: str, bars: Sequence[Bar], axes: Axes, colours: Mapping[str, str], height: int = 230
) -> Panel:
    """Grouped bars of (x, group, value, interval or None)."""
    with_interval = any(interval for *_, interval in bars)
    heads = {"x": axes.x or "slice", "group": "run", "value": axes.y}
    heads |= {"low": "95% low", "high": "95% high"} if with_interval else {}
    columns: dict[str, Column] = {
        "x": [x for x, *_ in bars],
        "group": [group for _, group, *_ in bars],
        "value": rounded(value for _, _, value, _ in bars),
        "low": rounded(interval[0] if interval else np.nan for *_, interval in bars),
        "high": rounded(interval[1] if interval else np.nan for *_, interval in bars),
    }
    tooltip = [category(name, heads[name]) for name in ("group", "x")]
    tooltip += [quantity(name, heads[name], format=axes.format) for name in list(heads)[2:]]
    value = _position("value", axes.y, axes.y_domain, zero=True)
    colour = _named("group", list(colours), list(colours.values()))
    layer: list[dict[str, Any]] = [
        {"mark": {"type": "bar"}, "encoding": {"y": value, "tooltip": tooltip, "color": colour}}
    ]
    if with_interval:
        ends = {"y": {**value, "field": "low"}, "y2": {"field": "high"}}
        layer.append({"mark": {"type": "rule", "color": TEXT, "aria": False}, "encoding": ends})
    labels = {"labelAngle": 0, "labelLimit": 110, **axes.labels}
    order = list(dict.fromkeys(columns["x"]))
    encoding = {
        "x": category("x", axes.x or None, "ordinal", sort=order, axis=labels),
        "xOffset": {"field": "group", "type": "nominal", "sort": list(colours)},
    }
    return Panel(title, {"encoding": encoding, "layer": layer}, columns, heads, height)


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
        "color": _named("part", [part.name for part in parts], [part.colour for part in parts]),
    }
    # An area is one mark with one tooltip; thin bars under the pointer answer for their own step.
    bars = {"type": "bar", "width": {"band": 1}, "opacity": 0, "aria": False}
    hover = {"mark": bars, "encoding": {"tooltip": _tooltip("part", axes)}}
    spec = {"encoding": encoding, "layer": [{"mark": {"type": "area", "opacity": 0.85}}, hover]}
    return Panel(title, spec, columns, {"part": "part", "x": axes.x, "y": axes.y}, height)


def rule_at(value: float) -> dict[str, Any]:
    """A thin horizontal line across a plot, as a further layer."""
    mark = {"type": "rule", "strokeDash": [4, 4], "color": SOFT, "strokeWidth": 1, "aria": False}
    across = {"x": {"value": 0}, "x2": {"value": "width"}, "y": {"datum": value}}
    return {"mark": mark, "encoding": {**across, "color": {"value": SOFT}}, "data": {"values": [{}]}}


def _named(field: str, names: Sequence[str], look: Sequence[Any]) -> Channel:
    """A channel with a colour or dashes for each name."""
    return category(field, None, scale={"domain": list(names), "range": list(look)})


def _tooltip(field: str, axes: Axes) -> list[Channel]:
    x, y = quantity("x", axes.x, format=",.5~r"), quantity("y", axes.y, format=axes.format)
    return [category(field, field), x, y]


def _position(field: str, title: str, domain: Sequence[float] | None, zero: bool = False) -> Channel:
    scale: dict[str, Any] = {"zero": zero, "nice": domain is None}
    if domain is not None:
        scale["domain"] = list(domain)
    return quantity(field, title, scale=scale, axis={"tickCount": 5})
