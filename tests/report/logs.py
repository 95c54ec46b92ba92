"""Real run logs for the tests of the report, small and with hostile texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdro import Controller, Outcome, Problem, Request, RunLog, make_strategy

HOSTILE = "<script>window.hacked = 1</script>"


def play(folder: Path, strategy: str, steps: int = 30, *, texts: bool = True) -> None:
    """A run of a real controller on fixed pass rates."""
    rate = np.random.default_rng(0).beta(0.4, 0.6, 200)
    keys = [f"{HOSTILE}{i}" for i in range(200)]
    log = RunLog(folder / "gdro")
    if texts:
        log.write_prompts((key, f"What is {i} + {i}? </script>{HOSTILE}") for i, key in enumerate(keys))
        log.write_completions({keys[17]: "an earlier one"})
        log.write_completions(dict.fromkeys(keys, f"<img src=x onerror='window.hacked = 2'>{HOSTILE}"))
    controller = Controller(make_strategy(strategy), Problem(prompt_keys=keys), seed=1, log=log)
    for step in range(steps):
        plan = controller.plan(Request(32, 128))
        right = np.random.default_rng([2, step]).random(128) < rate[plan.prompt_R]
        outcome = Outcome(plan.ticket, plan.prompt_R, right.astype(float), right, np.full(128, 7))
        controller.weigh(outcome)
        controller.observe(outcome, extra={"step": step})


def evaluation(value: float) -> dict:
    """Held-out scores as `gdro train` writes them."""
    entry = {"pass@8": value, "mean@8": value / 2, "ci_pass@8": [value - 0.1, value + 0.1]}
    parts = [{"name": name, "num_prompts": 9, **entry} for name in ("hard & few", "easy (the rest)")]
    return {**entry, "slices": parts}


def recipe_run(folder: Path, steps: int = 30) -> Path:
    """Three arms and their summary, as a recipe leaves them."""
    arms = {}
    for name, strategy in (("rollout-gdro", "rollout-gdro"), ("grpo", "uniform"), ("both", "joint")):
        play(folder / name, strategy, steps)
        logged = [*range(1, steps + 1)]
        entropy = [] if name == "rollout-gdro" else [1 / step for step in logged]
        curves = {"step": logged, "entropy": entropy, "length": [19.0 + step for step in logged]}
        (folder / name / "eval.json").write_text(json.dumps({"curves": curves}))
        arms[name] = {**evaluation(0.4321), "rollouts": 3840, "tokens": 26880, "seconds": 1.5}
    summary = {"recipe": HOSTILE, "seed": 0, "base": evaluation(0.2), "arms": arms}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


ODD = (
    "constructor",
    "toString",
    "__proto__",
    "hasOwnProperty",
    "valueOf",
    "a\u2028b",
    "__defineGetter__",
    "null",
)


def named_run(folder: Path, names: Sequence[str]) -> Path:
    """Arms, slices and prompts of such names, with a summary."""
    arms = {}
    for name in names:
        play(folder / name, "rollout-gdro", 6)
        curves = {"step": [1, 2, 3], "entropy": [1.0, 0.5, 0.2], "length": [19.0, 20.0, 21.0]}
        (folder / name / "eval.json").write_text(json.dumps({"curves": curves}))
        arms[name] = {**evaluation(0.4321), "rollouts": 3840, "tokens": 26880, "seconds": 1.5}
        arms[name]["slices"] = [{**arms[name]["slices"][0], "name": other} for other in names]
    base = {**evaluation(0.2)}
    base["slices"] = [{**base["slices"][0], "name": other} for other in names]
    summary = {"recipe": names[0], "seed": 0, "base": base, "arms": arms}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
