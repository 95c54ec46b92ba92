"""Seconds of one run of a study on one thread: `python benchmarks/study_speed.py`.

A run is 51,200 rollouts: 200 steps of 64 prompts x 4, with its learning curve and last evaluation, as
in studies/headline.yaml. What a process does once (imports, the world of a seed) is not in the time,
as it is not for most runs of a study. The target is 7 s for GRPO.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gdro.study import load_study
from gdro.study.runner import jobs, run_job

TARGET = 7.0


def main(config: Path, arms: list[str], testbeds: list[str]) -> bool:
    """Print the seconds of each arm and testbed; whether GRPO keeps to the target on all."""
    study = load_study(config, [])
    first = {(job.arm, job.testbed): job for job in reversed(jobs(study, explore=False))}
    warm = load_study(config, ["training.num_steps=4"])
    met = True
    for bed in testbeds:
        run_job(next(j for j in jobs(warm, False) if (j.arm, j.testbed) == (study.control, bed)))
        for arm in arms:
            record = run_job(first[arm, bed])
            slow = arm == study.control and record["seconds"] > TARGET
            met = met and not slow
            print(
                f"{bed:12} {arm:14} {record['seconds']:5.1f} s {record['rollouts']:8,} rollouts"
                f"{'  NOT MET' if slow else ''}"
            )
    return met


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("studies/headline.yaml"))
    parser.add_argument("--arms", nargs="+", default=["grpo", "rollout-gdro", "gdro"])
    parser.add_argument("--testbeds", nargs="+", default=["chains-a", "arithmetic", "strings"])
    options = parser.parse_args()
    sys.exit(0 if main(options.config, options.arms, options.testbeds) else 1)
