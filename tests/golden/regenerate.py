"""Write the golden trajectories again: `python tests/golden/regenerate.py`.

Do this only for a change that is meant to alter plans or metrics, and say so in the changelog.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import helpers as h

GOLDEN = Path(__file__).parent / "expected"
STRATEGIES = ("joint", "prompt-gdro", "rollout-gdro", "uniform")
# Options whose code path the defaults do not take.
VARIANTS = (*STRATEGIES, "prompt-resample-ema-True", "rollout-exp3p-True")


def trajectory(variant: str) -> dict[str, Any]:
    """Five steps of a strategy: its plans, and the metrics at the end."""
    c = h.controller(variant, seed=11, prior=True)
    plans = [
        {"prompt_P": p.prompt_P.tolist(), "rollouts_P": p.rollouts_P.tolist()} for p in h.warm(c, 5)
    ]
    return {"strategy": variant, "plans": plans, "metrics": c.metrics()}


def main() -> None:
    """Write one file a strategy."""
    GOLDEN.mkdir(exist_ok=True)
    for variant in VARIANTS:
        path = GOLDEN / f"{variant}.json"
        path.write_text(json.dumps(trajectory(variant)) + "\n")
        print(path)


if __name__ == "__main__":
    main()
