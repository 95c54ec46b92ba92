"""Kill real runs with SIGKILL and resume them; `make chaos` runs it. Prints where they were killed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import simulated
from chaos.story import Job, Tally, endure

DEFAULT = "rollout-gdro + memory"
SIMULATED = (
    DEFAULT,
    "reinforce-ada + prompt-gdro",
    "joint",
)
TRAINED = (
    DEFAULT,
    "reinforce-ada(rounds=2, per_round=2) + prompt-gdro",
)


# What a run of at least so many kills must have seen; phases are those of `kills.PHASES`.
LONG, LONG_TRAINED = 200, 50
LEAST = {"checkpoint": 10, "log": 1, "extend": 1}


def missed(kills: Counter[str], simulated: int, trained: int) -> list[str]:
    """Minima that a run did not reach, as far as the numbers of kills that were asked for allow them.

    Args:
        kills: Kills by place, `job: phase`.
        simulated: Kills of simulated runs that were asked for.
        trained: Those of TRL.
    """
    of = {"kills": kills.total(), "kills of TRL": sum(n for p, n in kills.items() if p[:4] == "TRL:")}
    least = {"kills of TRL": LONG_TRAINED} if trained >= LONG_TRAINED else {}
    if simulated + trained >= LONG:
        least |= {"kills": LONG} | {f"kills in {phase}": n for phase, n in LEAST.items()}
        for phase in LEAST:
            of[f"kills in {phase}"] = sum(n for p, n in kills.items() if p.endswith(f": {phase}"))
    return [f"{of[name]} {name}, at least {n} are needed" for name, n in least.items() if of[name] < n]


def endured(jobs: list[Job], folder: Path, kills: int, seed: int, tally: Tally) -> None:
    """Kill several jobs, as many times each; prints how long each took."""
    for i, job in enumerate(jobs):
        start, before = time.monotonic(), tally.total
        endure(job, folder / f"{job.name}-{i}", -(-kills // len(jobs)), seed + i, tally)
        seconds = time.monotonic() - start
        print(f"{job.name} {i}: {tally.total - before} kills, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulated", type=int, default=0, help="kills of simulated runs")
    parser.add_argument("--trained", type=int, default=0, help="kills of the TRL trainer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally, start = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if options.simulated:
            jobs = [simulated.job(strategy) for strategy in SIMULATED]
            endured(jobs, Path(folder), options.simulated, options.seed, tally)
        if options.trained:
            from chaos import trained

            strategies = TRAINED if options.trained >= 10 else TRAINED[:1]
            jobs = [trained.job(strategy) for strategy in strategies]
            endured(jobs, Path(folder), options.trained, options.seed, tally)
    for place, kills in sorted(tally.kills.items()):
        print(f"{kills:5d}  {place}")
    print(
        f"{tally.total:5d} kills in {tally.runs} runs, {time.monotonic() - start:.0f} s: same plans, "
        "digests and logs as runs that were left alone; no step twice, none lost that was written"
    )
    lacking = missed(tally.kills, options.simulated, options.trained)
    sys.exit("; ".join(lacking) if lacking else 0)


if __name__ == "__main__":
    main()
