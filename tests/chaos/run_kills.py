"""Kill real runs with SIGKILL and resume them; `make chaos` runs it. Prints where they were killed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import simulated
from chaos.story import Tally, endure

SIMULATED = (
    "mopps(target=0.1) + rollout-gdro(n_max=8) + memory",
    "reinforce-ada + prompt-gdro",
    "joint",
)
TRAINED = (
    "mopps(target=0.1) + rollout-gdro(n_max=8) + memory",
    "reinforce-ada(rounds=2, per_round=2) + prompt-gdro",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulated", type=int, default=0, help="kills of simulated runs")
    parser.add_argument("--trained", type=int, default=0, help="kills of the TRL trainer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally, start = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for i, strategy in enumerate(SIMULATED if options.simulated else ()):
            kills = -(-options.simulated // len(SIMULATED))
            endure(simulated.job(strategy), Path(folder) / f"sim{i}", kills, options.seed + i, tally)
        if options.trained:
            from chaos import trained

            strategies = TRAINED if options.trained >= 10 else TRAINED[:1]
            for i, strategy in enumerate(strategies):
                kills = -(-options.trained // len(strategies))
                endure(trained.job(strategy), Path(folder) / f"trl{i}", kills, options.seed + i, tally)
    for place, kills in sorted(tally.kills.items()):
        print(f"{kills:5d}  {place}")
    print(
        f"{tally.total:5d} kills in {tally.runs} runs, {time.monotonic() - start:.0f} s: same plans, "
        "digests and logs as runs that were left alone; no step twice, none lost that was written"
    )


if __name__ == "__main__":
    main()
