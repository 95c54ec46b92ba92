"""Print the table of targets from a pytest-benchmark JSON file: `python benchmarks/table.py FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

SIZES = (256, 512, 1024, 4096, 16_384)
GROWTH = (
    ("test_plan", "bin"),
    ("test_plan", "per-prompt"),
    ("test_weigh_and_observe", "prompt"),
    ("test_weigh_and_observe", "bin"),
)


def main(path: Path) -> None:
    """Compare medians with the targets.

    Args:
        path: The JSON file.
    """
    rows = {b["name"]: b["stats"] for b in json.loads(path.read_text())["benchmarks"]}
    ms = {name: stats["median"] * 1e3 for name, stats in rows.items()}
    yard = rows["test_yardstick"]
    spread = (yard["q3"] - yard["q1"]) / yard["median"]
    print(f"yardstick, np.maximum over 256 numbers: median {yard['median'] * 1e6:.2f} us, "
          f"fastest {yard['min'] * 1e6:.2f} us, quartiles {spread:.0%} apart\n")  # fmt: skip
    line = "{:58} {:>10} {:>10}  {}".format
    print(line("median", "measured", "target", ""))

    def show(label: str, value: float, target: float, unit: str = "ms", least: bool = False) -> None:
        met = value >= target if least else value <= target
        bound = f"{'>=' if least else '<='} {target:g}"
        print(line(label, f"{value:.3g} {unit}", bound, "met" if met else "NOT MET"))

    show("weigh + observe, prompt-gdro, P = 256 x 4",
         ms["test_weigh_and_observe[prompt-256-14100]"], 0.3)  # fmt: skip
    for size, target, ratio in ((256, 0.6, 10), (4096, 4.0, 30)):
        plan = ms[f"test_plan[bin-{size}-14100]"]
        show(f"plan, rollout-gdro per bin, P = {size:,}", plan, target)
        baseline = ms[f"test_dictionary_dp[{size}]"]
        show(f"  dictionary DP over it ({baseline:.3g} ms)", baseline / plan, ratio, "x", least=True)
        exact = ms[f"test_plan[dp-{size}-14100]"]
        show(f"  over our exact DP, split=False ({exact:.3g} ms)", baseline / exact, ratio, "x", True)
    show("plan, rollout-gdro per prompt, P = 4,096", ms["test_plan[per-prompt-4096-14100]"], 4.0)
    for kind in ("uniform", "prompt", "bin"):
        for size in (256, 4096):
            step = {
                n: ms[f"test_plan[{kind}-{size}-{n}]"] + ms[f"test_weigh_and_observe[{kind}-{size}-{n}]"]
                for n in (14_100, 1_000_000)
            }
            label = f"step, {kind}, P = {size:,}: N = 1e6 over N = 14,100"
            show(label, step[1_000_000] / step[14_100], 1.3, "x")
    for name, kind in GROWTH:
        values = [ms[f"{name}[{kind}-{size}-65536]"] for size in SIZES]
        slope = np.polyfit(np.log(SIZES), np.log(values), 1)[0]
        show(f"growth with P, {name[5:]} {kind}: fitted exponent", slope, 1.1, "")
    for tracker, target in (("decayed", 500.0), ("windowed", 1500.0)):
        label = f"checkpoint of N = 1e6, save + load, {tracker}"
        show(label, ms[f"test_checkpoint_of_a_million[{tracker}]"], target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
