"""Print the table of targets from a pytest-benchmark JSON file: `python benchmarks/table.py FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZES = (256, 512, 1024, 4096, 16_384)
GROWTH = (
    ("test_plan", "bin"),
    ("test_plan", "per-prompt"),
    ("test_weigh_and_observe", "prompt"),
    ("test_weigh_and_observe", "bin"),
)


@dataclass(frozen=True)
class Row:
    """A measurement and its target."""

    label: str
    value: float
    target: float
    unit: str = "ms"
    least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        met = self.value >= self.target if self.least else self.value <= self.target
        return "met" if met else "NOT MET"


def rows(ms: dict[str, float]) -> Iterator[Row]:
    """The table's rows.

    Args:
        ms: Milliseconds of each benchmark, medians or fastest.

    Yields:
        Rows in the order of the table.
    """
    yield Row(
        "weigh + observe, prompt-gdro, P = 256 x 4", ms["test_weigh_and_observe[prompt-256-14100]"], 0.3
    )
    for size, target, ratio in ((256, 0.6, 10), (4096, 4.0, 30)):
        plan = ms[f"test_plan[bin-{size}-14100]"]
        yield Row(f"plan, rollout-gdro per bin, P = {size:,}", plan, target)
        baseline = ms[f"test_dictionary_dp[{size}]"]
        yield Row("  dictionary DP over it", baseline / plan, ratio, "x", True)
        exact = ms[f"test_plan[dp-{size}-14100]"]
        yield Row("  dictionary DP over our exact DP, split=False", baseline / exact, ratio, "x", True)
    yield Row("plan, rollout-gdro per prompt, P = 4,096", ms["test_plan[per-prompt-4096-14100]"], 4.0)
    for kind in ("uniform", "prompt", "bin"):
        for size in (256, 4096):
            step = {
                n: ms[f"test_plan[{kind}-{size}-{n}]"] + ms[f"test_weigh_and_observe[{kind}-{size}-{n}]"]
                for n in (14_100, 1_000_000)
            }
            label = f"step, {kind}, P = {size:,}: N = 1e6 over N = 14,100"
            yield Row(label, step[1_000_000] / step[14_100], 1.3, "x")
    for name, kind in GROWTH:
        values = [ms[f"{name}[{kind}-{size}-65536]"] for size in SIZES]
        slope = float(np.polyfit(np.log(SIZES), np.log(values), 1)[0])
        yield Row(f"growth with P, {name[5:]} {kind}: fitted exponent", slope, 1.1, "")
    for tracker, target in (("decayed", 500.0), ("windowed", 1500.0)):
        label = f"checkpoint of N = 1e6, save + load, {tracker}"
        yield Row(label, ms[f"test_checkpoint_of_a_million[{tracker}]"], target)


def main(path: Path) -> None:
    """Compare medians with the targets; the fastest rounds show what the machine's noise adds.

    Args:
        path: The JSON file.
    """
    stats = {b["name"]: b["stats"] for b in json.loads(path.read_text())["benchmarks"]}
    yard = stats["test_yardstick"]
    spread = (yard["q3"] - yard["q1"]) / yard["median"]
    print(
        f"yardstick, np.maximum over 256 numbers: median {yard['median'] * 1e6:.2f} us, "
        f"fastest {yard['min'] * 1e6:.2f} us, quartiles {spread:.0%} apart\n"
    )
    print("| | median | fastest | target | |\n|---|---|---|---|---|")
    medians, fastest = (
        list(rows({name: s[kind] * 1e3 for name, s in stats.items()})) for kind in ("median", "min")
    )
    for row, best in zip(medians, fastest, strict=True):
        bound = f"{'>=' if row.least else '<='} {row.target:g}"
        values = f"{row.value:.3g} {row.unit} | {best.value:.3g} {row.unit}"
        print(f"| {row.label.strip()} | {values} | {bound} | {row.verdict} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
