"""The quickstart task in verl, paired seeds: `.venv-verl/bin/python benchmarks/verl_seeds.py`.

GRPO, Rollout-GDRO and the default in verl's own main_ppo on real Ray, two ranks on the CPU: 64 prompts
x 4 rollouts a step, 64 held-out prompts, 8 samples each. One run after another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gdro.common.files import fresh
from gdro.dry_run.verl.launch import cpu_overrides, start
from gdro.dry_run.verl.quickstart import prepare
from gdro.dry_run.verl.watch import METRICS, metrics_of, wait

ARMS = ("uniform", "rollout-gdro", "gdro")
SAMPLES = 8


def trained(arm: str, seed: int, steps: int, folder: Path) -> dict[str, float]:
    """Held-out mean@8 and pass@8 after a run."""
    overrides = [
        *cpu_overrides(2),
        *prepare(folder, train_size=256, seed=seed),
        "data.train_batch_size=64",
        "actor_rollout_ref.actor.ppo_mini_batch_size=64",
        "trainer.v1.trainer_mode=gdro",
        f"+gdro.strategy={arm}",
        f"+gdro.seed={seed}",
        f"data.seed={seed}",
        "+gdro.poll_interval=0.05",
        "trainer.logger=[console,file]",
        f"trainer.total_training_steps={steps}",
        f"trainer.test_freq={steps}",
        f"actor_rollout_ref.rollout.val_kwargs.n={SAMPLES}",
        "actor_rollout_ref.rollout.val_kwargs.do_sample=True",
        "actor_rollout_ref.rollout.val_kwargs.temperature=1.0",
    ]
    process = start(overrides, folder, folder / "log.txt", metrics=folder / METRICS)
    wait(process, folder / METRICS, folder / "log.txt", steps, f"{arm}, seed {seed}")
    last = metrics_of(folder / METRICS)[-1]
    names = {"mean": f"mean@{SAMPLES}", "pass": f"best@{SAMPLES}/mean"}
    return {name: last[f"val-core/chains/acc/{key}"] for name, key in names.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/verl-seeds"))
    given = parser.parse_args()
    folder = fresh(given.output)
    for seed in given.seeds:
        base: dict[str, float] = {}
        for arm in ARMS:
            found = trained(arm, seed, given.steps, folder / f"{arm}-{seed}")
            base = base or found
            change = " ".join(f"{n}@8 {v:.3f} ({v - base[n]:+.3f})" for n, v in found.items())
            print(f"seed {seed} {arm:14} {change}", flush=True)
