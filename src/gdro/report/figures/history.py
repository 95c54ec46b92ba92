"""One prompt's visits: the plot that the explorer fills in."""

from __future__ import annotations

from typing import Any

from gdro.report.panels import Panel, bin_names


def history_spec(num_bins: int) -> Panel:
    """Pass rate at each visit, as large as its rollouts, coloured by the bin it stood in."""
    names = bin_names(num_bins)
    encoding: dict[str, Any] = {
        "x": {"field": "step", "type": "quantitative", "title": "step", "axis": {"tickCount": 6},
              "scale": {"zero": False}},
        "y": {"field": "rate", "type": "quantitative", "title": "pass rate of the visit",
              "scale": {"domain": [0, 1]}, "axis": {"tickCount": 3}},
    }  # fmt: skip
    points = {
        "mark": {
            "type": "point",
            "filled": True,
            "opacity": 1,
            "stroke": "var(--soft)",
            "strokeWidth": 1,
        },
        "encoding": {
            "color": {
                "field": "bin",
                "type": "ordinal",
                "scale": {"scheme": "viridis", "domain": names},
            },
            "size": {"field": "n", "type": "quantitative", "scale": {"range": [40, 240], "zero": False}},
            "tooltip": [
                {"field": "step", "type": "quantitative", "title": "step"},
                {"field": "bin", "type": "ordinal", "title": "bin"},
                {"field": "n", "type": "quantitative", "title": "rollouts"},
                {"field": "successes", "type": "quantitative", "title": "right"},
            ],
        },
    }
    line = {"mark": {"type": "line", "color": "var(--soft)", "strokeWidth": 1, "aria": False}}
    return Panel("history", {"encoding": encoding, "layer": [line, points]}, {}, {}, 200)
