"""The quickstart task in verl, paired seeds: `.venv-verl/bin/python benchmarks/verl_seeds.py`.

GRPO, Rollout-GDRO and the default in verl's own main_ppo on real Ray, two ranks on the CPU: 32 prompts
x 4 rollouts a step, 256 held-out prompts, 8 samples each, with the recipe's learning rate and length.
One run after another; the same command goes on where it was stopped, from the last checkpoint of the run
that was not through. A run takes six to eleven minutes on two idle cores. The same in TRL:
`gdro train --recipe benchmarks/verl_seeds.yaml --seeds 0-5`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np

from gdro.common.files import write_json
from gdro.dry_run.verl.launch import cpu_overrides, start
from gdro.dry_run.verl.quickstart import prepare
from gdro.dry_run.verl.watch import METRICS, metrics_of, wait

ARMS = ("uniform", "rollout-gdro", "gdro")
TRAIN, HELD_OUT, SAMPLES, SAVE_EVERY = 256, 256, 8, 25
MATCHING = (
    "actor_rollout_ref.actor.optim.lr=5e-4",
    "data.max_response_length=6",
    "actor_rollout_ref.rollout.response_length=6",
)
RESULT, MEANS = "result.json", ("mean", "pass", "tokens")


def trained(arm: str, seed: int, steps: int, prompts: int, folder: Path) -> dict[str, float]:
    """Held-out mean@8 and pass@8, tokens and seconds of a run; of an earlier one if it was through."""
    if (folder / RESULT).exists():
        return json.loads((folder / RESULT).read_text())
    if (folder / f"checkpoints/global_step_{steps}").exists():
        shutil.rmtree(folder)  # killed between its last checkpoint and its evaluation
    begun = time.monotonic()
    overrides = [
        *cpu_overrides(2),
        *prepare(folder, train_size=TRAIN, seed=seed, heldout_size=HELD_OUT),
        *MATCHING,
        f"data.train_batch_size={prompts}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={prompts}",
        "trainer.v1.trainer_mode=gdro",
        f"+gdro.strategy={arm}",
        f"+gdro.seed={seed}",
        f"data.seed={seed}",
        "+gdro.poll_interval=0.05",
        "trainer.logger=[console,file]",
        f"trainer.total_training_steps={steps}",
        f"trainer.test_freq={steps}",
        f"trainer.save_freq={SAVE_EVERY}",
        "trainer.max_actor_ckpt_to_keep=1",
        "trainer.resume_mode=auto",
        f"actor_rollout_ref.rollout.val_kwargs.n={SAMPLES}",
        "actor_rollout_ref.rollout.val_kwargs.do_sample=True",
        "actor_rollout_ref.rollout.val_kwargs.temperature=1.0",
    ]
    process = start(overrides, folder, folder / "log.txt", metrics=folder / METRICS)
    wait(process, folder / METRICS, folder / "log.txt", steps, f"{arm}, seed {seed}")
    last = metrics_of(folder / METRICS)[-1]
    names = {"mean": f"mean@{SAMPLES}", "pass": f"best@{SAMPLES}/mean"}
    found = {name: last[f"val-core/chains/acc/{key}"] for name, key in names.items()}
    found["tokens"] = last["gdro/total_tokens"]
    write_json(folder / RESULT, found | {"seconds": time.monotonic() - begun})
    return trained(arm, seed, steps, prompts, folder)


def shown(found: dict[str, float], base: dict[str, float]) -> str:
    """A run beside the first arm's."""
    names = ("mean", "pass")
    changes = (f"{n}@{SAMPLES} {found[n]:.3f} ({found[n] - base[n]:+.3f})" for n in names)
    return f"{' '.join(changes)}, {found['tokens']:,.0f} tokens"


def errors(found: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    """Standard errors of an arm's mean changes, over pairs."""
    if len(found) < 2:
        return "one pair has no standard error"
    changes = {n: [a[n] - b[n] for a, b in zip(found, base, strict=True)] for n in ("mean", "pass")}
    parts = (f"{n}@{SAMPLES} {np.std(c, ddof=1) / len(c) ** 0.5:.3f}" for n, c in changes.items())
    return f"standard errors of the changes: {', '.join(parts)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=32, help="prompts a step, with 4 rollouts each")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--output", type=Path, default=Path("runs/verl-seeds"))
    given = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in given.arms}
    for seed in given.seeds:
        for arm, earlier in runs.items():
            folder = given.output / f"{arm}-seed{seed}-{given.prompts}x{given.steps}"
            earlier.append(trained(arm, seed, given.steps, given.prompts, folder))
            base = runs[given.arms[0]][-1]
            took = f"{earlier[-1]['seconds']:.0f} s"
            print(f"seed {seed} {arm:14} {shown(earlier[-1], base)}, {took}", flush=True)
    write_json(given.output / "seeds.json", {"seeds": given.seeds, "arms": runs})
    for arm, found in runs.items():
        mean = {name: float(np.mean([run[name] for run in found])) for name in MEANS}
        base = {name: float(np.mean([run[name] for run in runs[given.arms[0]]])) for name in MEANS}
        print(f"all    {arm:14} {shown(mean, base)}; {errors(found, runs[given.arms[0]])}")
