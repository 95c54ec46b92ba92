"""A reward function, and agent loops that fail on purpose: verl runs it within each session."""

from __future__ import annotations

import os
from typing import Any


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **_: Any
) -> dict[str, float]:
    """Right or wrong; some prompts' agent loops fail, as PROBE_FAIL says: all, or but for one answer."""
    failing = os.environ.get("PROBE_FAIL", "")
    if failing:
        never, rarely = (int(i) for i in failing.split(","))
        if extra_info["index"] == never or (extra_info["index"] == rarely and solution_str[:1] < "3"):
            raise RuntimeError("the sandbox is down")
    answer, _, _ = solution_str.partition(".")  # what a tool says follows a point
    right = float(answer.strip() == ground_truth)
    return {"score": right, "acc": right}
