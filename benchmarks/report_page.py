"""The report of a simulated DAPO-size run: time to make it, its size, and time to open it in Chromium.

python benchmarks/report_page.py            # 1,000 steps of 256 prompts over 14,100
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from gdro.report import write_report
from gdro.simulate import Simulation, simulate
from gdro.simulate.run import SimulatedArm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/report"))

from browser import Page, chromium

MAKE, OPEN, SIZE = 15.0, 2.0, 5 * 2**20


def main() -> int:
    """Measure, and say which targets are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="openings; the median is told")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        arms = {"rollout-gdro": SimulatedArm("rollout-gdro")}
        simulate(Simulation(arms=arms, num_steps=arguments.steps), root / "run")
        start, worked = time.perf_counter(), time.process_time()
        page = write_report([root / "run"], root / "report.html")
        made, cpu = time.perf_counter() - start, time.process_time() - worked
        with chromium(root / "profile") as browser:
            opened = sorted(_opened(browser, page.as_uri()) for _ in range(arguments.rounds))
        size = page.stat().st_size
    rows = (
        ("report made, s", made, MAKE),
        ("of it on the processor, s", cpu, MAKE),
        ("page opens, s (median)", opened[len(opened) // 2], OPEN),
        ("size, MB", size / 2**20, SIZE / 2**20),
    )
    for name, value, target in rows:
        print(f"| {name} | {value:.2f} | <= {target:g} | {'met' if value <= target else 'NOT MET'} |")
    return 0


def _opened(browser: Page, url: str) -> float:
    """Seconds until the explorer's table and the figures on the screen are drawn."""
    start = time.perf_counter()
    browser.open(url)
    browser.wait("return [...document.querySelectorAll('[data-drawn]')].length > 0")
    browser.wait("return !document.querySelector('[data-drawn=soon]')")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
