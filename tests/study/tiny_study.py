"""A study of three steps, its file, and made-up records of it."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
name: tiny
control: grpo
seeds: 100-101
exploration_seeds: 0-1
arms:
  grpo: {strategy: uniform}
  placebo: {strategy: placebo-weights}
  random: {strategy: random-rollouts}
testbeds:
  chains: {task: chains, warm_start: chains-a}
training: {num_steps: 3, batch: 8, evaluate_every: 2}
sizes: {train: 64, heldout: 32, samples: 8}
"""
TWO_BEDS = CONFIG.replace(
    "warm_start: chains-a}", "warm_start: chains-a}\n  other: {task: chains, warm_start: chains-b}"
)


def config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def record(arm, seed, value, bed="chains", rollouts=100, tokens=1000):
    curve = [
        {
            **{"rollouts": r, "tokens": r * tokens / rollouts, "trained": r},
            **{"pass8": value * r / rollouts, "mean8": value * r / rollouts / 2},
        }
        for r in (rollouts / 2, rollouts)
    ]
    return {
        **{"arm": arm, "seed": seed, "testbed": bed, "pass8": value, "mean8": value / 2},
        **{"rollouts": rollouts, "tokens": tokens, "trained": rollouts, "discarded": 0},
        **{"recalled": 0, "tail_share": 0.3, "easy_mean8": 0.9, "easy_pass8": 1.0},
        **{"middle_pass8": 0.5, "tail_pass8": value / 4, "curve": curve},
        **{"middle_mean8": None, "tail_mean8": value / 8},
    }
