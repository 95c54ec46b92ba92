"""Time of a full GDROTrainer step over a GRPOTrainer step, on the quickstart's model and data.

Two trainers take turns, one step each, in alternating order, so that the machine's slow phases hit
both. The learning rate is zero: both generate from the same policy throughout. `--strategy none` puts
GRPOTrainer in both places: what the place itself costs. Seconds of the clock are what a user waits;
those of the processor hardly move when other programs run beside it.

    python benchmarks/trl_step.py [--pairs 400] [--strategy rollout-gdro]
    python benchmarks/trl_step.py --profile 60 --strategy gdro  # where the steps of GDROTrainer spend it
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import gc
import pstats
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOTrainer

from gdro.integrations.trl import GDROTrainer
from gdro.numerics.arrays import FloatArray
from gdro.recipes.run import load_task, trl_config
from gdro.recipes.schema import load_recipe

WARM_UP = 5
TARGET = 1.05


def clocks() -> tuple[float, float]:
    """Seconds of the clock, and of the processor over all threads."""
    return time.perf_counter(), time.process_time()


class Turns(TrainerCallback):
    """Lets one trainer run a step, then waits for its next turn; keeps each step's seconds."""

    def __init__(self) -> None:
        self.go, self.done = threading.Event(), threading.Event()
        self.seconds: list[tuple[float, float]] = []
        self._start = (0.0, 0.0)

    def wait(self) -> None:
        self.go.wait()
        self.go.clear()
        self._start = clocks()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wall, processor = clocks()
        self.seconds.append((wall - self._start[0], processor - self._start[1]))
        self.done.set()
        if state.global_step < state.max_steps:
            self.wait()

    def step(self) -> None:
        self.go.set()
        self.done.wait()
        self.done.clear()


def trainer(strategy: str | None, pairs: int, folder: Path) -> tuple[threading.Thread, Turns]:
    """A trainer on a thread of its own; plain GRPO without a strategy."""
    turns = Turns()
    thread = threading.Thread(target=made(strategy, pairs, folder, [turns]).train, daemon=True)
    thread.start()
    return thread, turns


def made(strategy: str | None, steps: int, folder: Path, callbacks: list[TrainerCallback]) -> Any:
    """A trainer of the quickstart's model; plain GRPO without a strategy."""
    recipe = load_recipe("quickstart")
    trl = {**recipe.trl, "max_steps": steps, "learning_rate": 0.0, "save_strategy": "no"}
    recipe = dataclasses.replace(recipe, trl={**trl, "disable_tqdm": True})
    task = load_task(recipe)
    shared = {
        "model": task.model,
        "reward_funcs": task.reward_funcs,
        "args": trl_config(recipe, folder),
        "train_dataset": task.train,
        "processing_class": task.tokenizer,
        "callbacks": callbacks,
    }
    if strategy is None:
        built: Any = GRPOTrainer(**shared)
    else:
        built = GDROTrainer(**shared, strategy=strategy, **dataclasses.asdict(recipe.adapter))
    built.remove_callback(PrinterCallback)
    return built


def profile(strategy: str | None, steps: int, folder: Path) -> None:
    """Print milliseconds a step of gdro's functions and of the step itself, with what they call."""
    built, seen = made(strategy, steps, folder, []), cProfile.Profile(time.process_time)
    seen.runcall(built.train)
    for (file, _, name), (_, calls, _, total, _) in sorted(
        pstats.Stats(seen).stats.items(), key=lambda item: -item[1][3]
    ):
        own = "gdro/" in file and "site-packages" not in file
        if total > 1e-3 * steps / 2 and (own or name == "training_step"):
            print(f"{total / steps * 1e3:8.1f} ms {calls / steps:6.1f} calls  {Path(file).name} {name}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--strategy", default="rollout-gdro", help="'none' is GRPOTrainer again")
    parser.add_argument("--no-target", action="store_true", help="report only")
    parser.add_argument("--profile", type=int, default=0, metavar="STEPS", help="profile instead")
    options = parser.parse_args()
    total = options.pairs + WARM_UP
    strategy = None if options.strategy == "none" else options.strategy
    if options.profile:
        with tempfile.TemporaryDirectory() as folder:
            return profile(strategy, options.profile, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        plain_thread, plain = trainer(None, total, Path(folder) / "grpo")
        ours_thread, ours = trainer(strategy, total, Path(folder) / "gdro")
        for pair in range(total):
            if pair == WARM_UP:
                # Two trainers in one process: a full collection of both heaps would fall to
                # whichever allocates at the wrong moment.
                gc.collect()
                gc.freeze()
            for turns in (plain, ours) if pair % 2 else (ours, plain):
                turns.step()
        plain_thread.join()
        ours_thread.join()
    for column, clock in enumerate(("clock", "processor")):
        plain_S, ours_S = (np.array(t.seconds[WARM_UP:])[:, column] for t in (plain, ours))
        compare(f"{clock}, {options.strategy}", plain_S, ours_S, None if options.no_target else TARGET)


def compare(what: str, plain_S: FloatArray, ours_S: FloatArray, target: float | None) -> None:
    """Print the median of the pairs' ratios, and a bound of it."""
    ratio_S = np.sort(ours_S / plain_S)
    # Step times have a heavy tail here; order statistics bound the median whatever it is like.
    upper = ratio_S[int(stats.binom.ppf(0.95, len(ratio_S), 0.5))]
    met = "" if target is None else f"; target <= {target}: {'met' if upper <= target else 'NOT MET'}"
    plain, ours = (f"{np.median(seconds) * 1e3:.0f} ms" for seconds in (plain_S, ours_S))
    low, high = np.quantile(ratio_S, [0.25, 0.75])
    print(f"{what}: GRPOTrainer {plain} a step, ours {ours}; {len(ratio_S)} interleaved pairs")
    print(
        f"  median ratio {np.median(ratio_S):.3f}, upper 95% bound {upper:.3f}, "
        f"quartiles {low:.3f} to {high:.3f}{met}"
    )


if __name__ == "__main__":
    main()
