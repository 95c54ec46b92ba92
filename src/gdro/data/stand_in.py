"""Synthetic rows with the columns of a hub dataset, for dry runs without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gdro.data.mix import Source
from gdro.data.presets import OTHER_CHOICES, PRESETS, Reading


def stand_in(source: Source, path: Path, num: int = 64) -> Path:
    """Write `num` synthetic sums with the columns of a preset, which pass the source's filters."""
    preset = PRESETS[source.set]
    level = {preset.level: (source.levels or ("made up",))[0]} if preset.level else {}
    rows: list[dict[str, Any]] = []
    for i in range(1, num + source.shots + 1):
        problem = {preset.problem: f"{preset.source}: {i % 7} + {i // 7} = ?"}
        answer = {preset.answer: _WRITTEN[preset.reading].format(i % 7 + i // 7)}
        others = {name: f"{n} more" for n, name in enumerate(OTHER_CHOICES)}
        rows.append({**problem, **answer, **level, **(others if preset.reading == "choices" else {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


_WRITTEN: dict[Reading, str] = {
    "text": "{}",
    "choices": "{}",
    "first": "{}",
    "after ####": "so it is\n#### {}",
    "last box": "so it is \\boxed{{{}}}",
}
