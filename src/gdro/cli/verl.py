"""`gdro verl-dry-run` and `gdro verl-quickstart`."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gdro.common.files import fresh
from gdro.common.installed import is_absent
from gdro.errors import GdroError
from gdro.strategies.registry import make_strategy

_EPILOG = """\
examples:
  gdro verl-dry-run -- algorithm.adv_estimator=grpo data.train_files=train.parquet \\
      data.val_files=val.parquet actor_rollout_ref.model.path=Qwen/Qwen3-1.7B-Base \\
      trainer.v1.trainer_mode=gdro
  gdro verl-dry-run --stub qwen3 -- ...        without a network: a Qwen3, a tokenizer of bytes
  VERL_MAIN="gdro verl-dry-run --stub qwen3 --" recipes/verl/qwen3_1.7b_dapo14k_rollout.sh
"""


def add(commands: Any) -> None:
    """Add both commands to the parser."""
    dry = commands.add_parser(
        "verl-dry-run",
        help="run a verl configuration for a few steps on a CPU, with a tiny model",
        description="Take the overrides of your `python -m verl.trainer.main_ppo`, replace the model "
        "with a tiny random one, take a few rows of your data, and run verl's own main_ppo on real Ray "
        "with two processes on the CPU: tests configuration, data, tokenizer, chat template, reward "
        "function, checkpoint and gdro before you pay for a GPU. Prints which parts ran.",
        epilog=_EPILOG,
    )
    option = dry.add_argument
    option("--stub", metavar="CLASS", help="model class by type (qwen3, llama, ...), no download")
    option("--steps", type=int, default=2, help="training steps (%(default)s)")
    option("--answer", type=int, default=16, help="longest answer, in tokens (%(default)s)")
    output = "folder of the run (%(default)s)"
    option("--output", type=Path, default=Path("runs/verl-dry-run"), help=output)
    option("overrides", nargs="*", metavar="key=value", help="overrides of main_ppo, after --")
    dry.set_defaults(run=_dry_run)
    quick = commands.add_parser(
        "verl-quickstart",
        help="train a tiny model in verl, on Ray, on a CPU",
        description="Train the quickstart's model in verl's own main_ppo on real Ray with two processes "
        "on the CPU, and print what the controller did.",
    )
    quick.add_argument("--strategy", default="gdro", help="name of the strategy (%(default)s)")
    quick.add_argument("--steps", type=int, default=20, help="training steps (%(default)s)")
    quick.add_argument("--output", type=Path, default=Path("runs/verl-quickstart"), help=output)
    quick.set_defaults(run=_quickstart)


def _need_verl() -> None:
    """Raise before anything is written; verl and TRL need separate environments."""
    spec = None if is_absent("verl") else find_spec("verl")
    if spec is None or spec.origin is None:  # a folder called verl that is no package has no origin
        raise GdroError(
            "verl is not installed here; it needs an environment of its own, separate from TRL's: "
            "make setup-verl (docs/verl.md)"
        )


def _check_steps(arguments: argparse.Namespace) -> None:
    if arguments.steps < 1:
        raise GdroError(f"--steps is {arguments.steps}; it must be at least 1")


def _dry_run(arguments: argparse.Namespace) -> int:
    _need_verl()
    from gdro.cli.tables import print_table
    from gdro.dry_run.verl.launch import start
    from gdro.dry_run.verl.tiny import tiny
    from gdro.dry_run.verl.watch import METRICS, metrics_of, parts, remark, wait

    _check_steps(arguments)
    if arguments.answer < 1:
        raise GdroError(f"--answer is {arguments.answer}; it must be at least 1")
    folder = fresh(arguments.output)
    job = tiny(arguments.overrides, folder, arguments.stub, arguments.steps, arguments.answer)
    print("\n".join(job.notes))
    process = start(job.overrides, folder, folder / "log.txt", metrics=folder / METRICS)
    wait(process, folder / METRICS, folder / "log.txt", arguments.steps, "dry run")
    steps = metrics_of(folder / METRICS)
    print_table(["part", "steps", "last value"], parts(steps))
    if (note := remark(steps)) is not None:
        print(f"\nnote: {note}")
    print(f"\nlog: {folder / 'log.txt'}")
    return 0


def _check_strategy(name: str) -> None:
    """Raise before Ray starts if a strategy is unknown, or verl cannot train with it."""
    if make_strategy(name).needs_loss:
        raise GdroError(
            f"--strategy {name!r} needs each rollout's loss, which verl keeps in its workers; take "
            "another, e.g. gdro (docs/verl.md), or train with TRL"
        )


def _quickstart(arguments: argparse.Namespace) -> int:
    _check_strategy(arguments.strategy)
    _need_verl()
    from gdro.cli.tables import print_table
    from gdro.dry_run.verl.launch import cpu_overrides, start
    from gdro.dry_run.verl.quickstart import log_summary, prepare
    from gdro.dry_run.verl.watch import METRICS, metrics_of, parts, wait
    from gdro.report import write_report

    _check_steps(arguments)
    folder = fresh(arguments.output)
    overrides = [
        *cpu_overrides(2),
        *prepare(folder, train_size=64),
        "trainer.v1.trainer_mode=gdro",
        "trainer.logger=[console,file]",
        f"+gdro.strategy={arguments.strategy}",
        "+gdro.poll_interval=0.05",
        f"trainer.total_training_steps={arguments.steps}",
        f"trainer.save_freq={arguments.steps}",
    ]
    process = start(overrides, folder, folder / "log.txt", metrics=folder / METRICS)
    wait(process, folder / METRICS, folder / "log.txt", arguments.steps, "verl")
    print_table(["part", "steps", "last value"], parts(metrics_of(folder / METRICS)))
    log = folder / "checkpoints/gdro"
    print(
        f"\n{log_summary(log)}\n\nrun log: {log}\nreport:  {write_report([log], folder / 'report.html')}"
    )
    return 0
