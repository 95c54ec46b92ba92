"""One prompt's visits: the plot that the explorer fills in."""

from __future__ import annotations

from gdro.report.panels import Panel, bin_names
from gdro.report.plots import category, quantity
from gdro.report.theme import SOFT


def history_spec(num_bins: int) -> Panel:
    """Pass rate at each visit; a point's size is its rollouts, its colour the prompt's bin then."""
    y = {"scale": {"domain": [0, 1]}, "axis": {"tickCount": 3}}
    encoding = {
        "x": quantity("step", "step", axis={"tickCount": 6}, scale={"zero": False}),
        "y": quantity("rate", "pass rate of the visit", **y),
    }
    colours = {"scheme": "viridis", "domain": bin_names(num_bins)}
    sizes = {"range": [40, 240], "zero": False}
    tooltip = [
        quantity("step", "step"),
        category("bin", "bin", "ordinal"),
        quantity("n", "rollouts"),
        quantity("successes", "right"),
    ]
    points = {
        "mark": {"type": "point", "filled": True, "opacity": 1, "stroke": SOFT, "strokeWidth": 1},
        "encoding": {
            "color": {"field": "bin", "type": "ordinal", "scale": colours},
            "size": {"field": "n", "type": "quantitative", "scale": sizes},
            "tooltip": tooltip,
        },
    }
    line = {"mark": {"type": "line", "color": SOFT, "strokeWidth": 1, "aria": False}}
    return Panel("history", {"encoding": encoding, "layer": [line, points]}, {}, {}, 200)
