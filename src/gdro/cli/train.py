"""`gdro train`."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.common.files import check_folder, fresh
from gdro.errors import GdroError
from gdro.step.checks import check_seed
from gdro.strategies.registry import make_strategy

EPILOG = """\
examples:
  gdro train --recipe quickstart                         five arms on a CPU, in minutes
  gdro train --recipe quickstart --strategy joint        one arm with another strategy
  gdro train --recipe quickstart trl.learning_rate=3e-4 arms.prompt-gdro.options.eta=2
  gdro train --recipe quickstart --resume                continue after a crash
  gdro train --recipe recipes/trl/qwen3_4b_dapo14k_rollout.yaml --dry-run
  gdro simulate --strategy uniform --strategy joint      14,100 synthetic prompts, no model, seconds
  gdro report runs/quickstart                            draw the page again
  gdro strategies rollout-gdro                           options, their meaning, a worked example
  gdro simulate --strategy "mopps + rollout-gdro"        parts of two strategies together
  gdro study studies/headline.yaml                       paired seeds, intervals: which is better?
"""
_EXAMPLES = """\
examples:
  gdro train                                             the quickstart: five arms on a CPU, in minutes
  gdro train --recipe quickstart --strategy joint --strategy "mopps + dapo"
  gdro train trl.learning_rate=3e-4 arms.prompt-gdro.options.eta=2 --output runs/mine
  gdro train --recipe quickstart --resume                continue after a crash, with the same recipe
  gdro train --recipe smollm2_arms --seeds 0-1           paired seeds, and intervals
  gdro train --recipe mine.yaml --dry-run                try a recipe on a CPU, with a tiny model

recipes:
"""


def _shipped() -> str:
    """A line per recipe, read without the libraries of recipes, so that help is fast."""
    paths = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
    lines = {path.stem: re.search("^description: (.*)$", path.read_text(), re.M) for path in paths}
    return "".join(f"  {name:14} {line[1]}\n" for name, line in lines.items() if line)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    train = commands.add_parser(
        "train",
        help="train the arms of a recipe, evaluate and compare them",
        description="Train the arms of a recipe from the same start for equal steps, evaluate each on "
        "held-out prompts, and write summary.json and report.html. Rollouts are equal except for arms "
        "that ask for more (dapo, speed, ...); the column of rollouts has all that were generated.",
        epilog=_EXAMPLES + _shipped(),
    )
    option = train.add_argument
    option("--recipe", default="quickstart", help="shipped name or YAML file (%(default)s)")
    option("--output", type=Path, help="folder of the run (default: runs/<recipe>)")
    overrides = (
        "override the recipe: seed=1, trl.max_steps=50 (any GRPOConfig option), difficulty.k=4, "
        "arms.NAME.options.eta=2"
    )
    option("overrides", nargs="*", metavar="key=value", help=overrides)
    strategy = "an arm with this strategy (or 'mopps + dapo') instead of the recipe's arms; repeatable"
    option("--strategy", metavar="NAME", action="append", help=strategy)
    option("--shadow", action="store_true", help="plan and log only; train as plain GRPO")
    option("--resume", action="store_true", help="continue from the last checkpoint")
    seeds = "train every arm with each seed, and compare with the first arm"
    option("--seeds", metavar="0-4", help=seeds)
    dry_run = "try the recipe on a CPU with a tiny model and 32 rows, and estimate the real run"
    option("--dry-run", action="store_true", help=dry_run)
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from gdro.recipes.checks import check_arms, check_evaluation, check_trl_names

    # Transformers warns of the option that TRL's own default sets.
    warnings.filterwarnings("ignore", message=r".*gradient_checkpointing.*")
    recipe = _recipe(arguments)
    seeds = None if arguments.seeds is None else _seeds(arguments.seeds, recipe)
    check_folder(arguments.output or Path("runs"), "--output")
    check_evaluation(recipe)
    check_arms(recipe)
    check_trl_names(recipe.trl)
    if arguments.dry_run:
        return _dry_run(arguments, recipe)
    # Slow imports wait until here, so that help and errors come at once.
    from gdro.recipes.processes import is_first
    from gdro.recipes.run import run
    from gdro.report import write_report

    output = arguments.output or Path("runs") / recipe.name
    if seeds is not None:
        return _train_seeds(arguments, recipe, seeds, output)
    summary = run(recipe, output, resume=arguments.resume)
    if not is_first():
        return 0
    page = write_report([output], output / "report.html", output / "figures")
    _print(summary)
    print(f"\nfolder: {output}\nreport: {page}")
    return 0


def _recipe(arguments: argparse.Namespace) -> Any:
    """The recipe with the changes of the command line."""
    from gdro.recipes.schema import load_recipe

    arms = arms_of(arguments.strategy or [])
    recipe = load_recipe(arguments.recipe, [*arms.values(), *arguments.overrides])
    if arms:
        recipe.arms = {name: recipe.arms[name] for name in arms}
    for arm in recipe.arms.values():
        arm.apply = arm.apply and not arguments.shadow
    return recipe


def _print(summary: dict[str, Any]) -> None:
    """The comparison of the arms, or their totals where nothing was evaluated."""
    from gdro.cli.tables import ROLLOUTS, print_summary, print_table

    if "base" in summary:
        return print_summary(summary)
    spent = ("rollouts", "tokens", "seconds")
    rows: list[list[str]] = []
    for name, arm in summary["arms"].items():
        last = [_last(arm["curves"][curve]) for curve in ("reward", "length")]
        rows.append([name, *(f"{arm[key]:,.0f}" for key in spent), *last])
    print_table(("arm", *spent, "reward, last", "answer, tokens"), rows)
    print(ROLLOUTS)


def _last(curve: list[float]) -> str:
    return f"{curve[-1]:.3f}" if curve else ""


def _dry_run(arguments: argparse.Namespace, recipe: Any) -> int:
    from gdro.cli.tables import print_table
    from gdro.dry_run.trl import dry_run
    from gdro.report import write_report

    if arguments.seeds is not None or arguments.resume:
        raise GdroError("--dry-run cannot be combined with --seeds or --resume; leave them out")
    folder = fresh(arguments.output or Path("runs/dry-run") / recipe.name)
    result = dry_run(recipe, folder)
    print("\n".join(result.notes))
    _print(result.summary)
    page = write_report([folder], folder / "report.html")
    print_table(("the real run", "estimate"), result.estimate)
    print(f"\neverything ran: data, model, reward, {len(recipe.arms)} arms, checkpoint, report: {page}")
    return 0


def _seeds(text: str, recipe: Any) -> list[int]:
    """Seeds of --seeds, checked; their comparison needs an evaluation."""
    from gdro.study.config import parse_seeds

    seeds = parse_seeds(text)
    check_seed(max(seeds), "--seeds")
    if not recipe.evaluation.samples:
        raise GdroError(
            "--seeds compares evaluations, and evaluation.samples is 0; pass evaluation.samples=16"
        )
    return seeds


def _train_seeds(arguments: argparse.Namespace, recipe: Any, seeds: list[int], output: Path) -> int:
    from functools import partial

    from gdro.cli.tables import ROLLOUTS, print_table
    from gdro.recipes.processes import is_first
    from gdro.recipes.run import run
    from gdro.recipes.seeds import SEEDS, run_seeds, table_of

    comparison = run_seeds(recipe, seeds, output, partial(run, resume=arguments.resume))
    if not is_first():
        return 0
    print_table(*table_of(comparison))
    print(ROLLOUTS)
    for seed, why in comparison["left_out"].items():
        print(f"seed {seed} is left out: {why}")
    print(f"\nresults: {output / SEEDS}")
    return 0


def arms_of(strategies: Sequence[str]) -> dict[str, str]:
    """The override that adds an arm with each strategy, by the arm's name.

    Raises:
        GdroError: A strategy is misspelt, or two get one name.
    """
    arms: dict[str, str] = {}
    for strategy in strategies:
        make_strategy(strategy)  # misspelt names are reported before slow imports
        name = re.sub(r"[^A-Za-z0-9]+", "-", strategy).strip("-")
        if name in arms:
            raise GdroError(
                f"--strategy {strategy!r} is a second arm {name!r}; name the arms yourself, e.g. "
                f"arms.first.strategy=NAME arms.first.options.OPTION=VALUE"
            )
        arms[name] = f"arms.{name}.strategy={strategy}"
    return arms
