"""`gdro train`."""

from __future__ import annotations

import argparse
import os
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
  gdro train --recipe quickstart --resume                go on after a crash
  gdro train --recipe recipes/trl/qwen3_4b_dapo14k_rollout.yaml --dry-run
  gdro simulate --strategy uniform --strategy joint      14,100 made-up prompts, no model, seconds
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
  gdro train --recipe quickstart --resume                go on after a crash, with the same recipe
  gdro train --recipe smollm2_arms --seeds 0-1           paired seeds, and intervals
  gdro train --recipe mine.yaml --dry-run                try a recipe on a CPU, with a tiny model

recipes:
"""


def _shipped() -> str:
    """A line each recipe; read without the libraries that a recipe needs, which help does not."""
    paths = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
    told = {
        path.stem: re.search(r"^description: (.*)$", path.read_text(), re.MULTILINE) for path in paths
    }
    return "".join(f"  {name:14} {line[1]}\n" for name, line in told.items() if line)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    _add_train(commands)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="quickstart", help="shipped name or YAML file (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/<recipe>)")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="override the recipe: seed=1, trl.max_steps=50 (any GRPOConfig option), "
        "difficulty.k=4, arms.NAME.options.eta=2",
    )


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train the arms of a recipe, evaluate and compare them",
        description="Train the arms of a recipe from the same start with the same number of rollouts, "
        "evaluate each on held-out prompts, and write summary.json and report.html.",
        epilog=_EXAMPLES + _shipped(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_recipe(train)
    train.add_argument(
        "--strategy",
        metavar="NAME",
        action="append",
        help="an arm with this strategy (or 'mopps + dapo') in the place of the recipe's; repeatable",
    )
    train.add_argument("--shadow", action="store_true", help="plan and log only; train as plain GRPO")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument(
        "--seeds", metavar="0-4", help="train every arm with each seed, and compare with the first arm"
    )
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="try the whole recipe on a CPU with a tiny model and 32 rows, and estimate the real run",
    )
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    # The Trainer's own spelling of an option that every version of TRL in range understands.
    warnings.filterwarnings("ignore", message=r".*gradient_checkpointing.*")
    recipe = _recipe(arguments)
    seeds = None if arguments.seeds is None else _seeds(arguments.seeds, recipe)
    check_folder(arguments.output or Path("runs"), "--output")
    if arguments.dry_run:
        return _dry_run(arguments, recipe)
    # Heavy imports wait until a command needs them: help, and what is misspelt, are told at once.
    from gdro.recipes.run import run
    from gdro.report import write_report

    output = arguments.output or Path("runs") / recipe.name
    if seeds is not None:
        return _train_seeds(arguments, recipe, seeds, output)
    summary = run(recipe, output, resume=arguments.resume)
    if os.environ.get("RANK", "0") != "0":
        return 0
    page = write_report([output], output / "report.html", output / "figures")
    _print(summary)
    print(f"\nfolder: {output}\nreport: {page}")
    return 0


def _recipe(arguments: argparse.Namespace) -> Any:
    """The recipe with what the command line changes."""
    from gdro.recipes.schema import load_recipe

    made = arms_of(arguments.strategy or [])
    recipe = load_recipe(arguments.recipe, [*made.values(), *arguments.overrides])
    if made:
        recipe.arms = {name: recipe.arms[name] for name in made}
    for arm in recipe.arms.values():
        arm.apply = arm.apply and not arguments.shadow
    return recipe


def _print(summary: dict[str, Any]) -> None:
    """The comparison of the arms, or what each did where nothing was evaluated."""
    from gdro.cli.tables import print_summary, print_table

    if "base" in summary:
        return print_summary(summary)
    spent = ("rollouts", "tokens", "seconds")
    heads = ("arm", *spent, "reward, last", "answer, tokens")
    rows = [
        [
            name,
            *(f"{arm[key]:,.0f}" for key in spent),
            *(_last(arm["curves"][c]) for c in ("reward", "length")),
        ]
        for name, arm in summary["arms"].items()
    ]
    print_table(heads, rows)


def _last(curve: list[float]) -> str:
    return f"{curve[-1]:.3f}" if curve else ""


def _dry_run(arguments: argparse.Namespace, recipe: Any) -> int:
    from gdro.cli.tables import print_table
    from gdro.dry_run.trl import dry_run
    from gdro.report import write_report

    if arguments.seeds is not None or arguments.resume:
        raise GdroError("--dry-run is one short run; leave out --seeds and --resume")
    folder = fresh(arguments.output or Path("runs/dry-run") / recipe.name)
    made = dry_run(recipe, folder)
    print("\n".join(made.notes))
    _print(made.summary)
    page = write_report([folder], folder / "report.html")
    print_table(("the real run", "estimate"), made.estimate)
    print(f"\neverything ran: data, model, reward, {len(recipe.arms)} arms, checkpoint, report: {page}")
    return 0


def _seeds(text: str, recipe: Any) -> list[int]:
    """Seeds of --seeds, whose comparison needs an evaluation of two arms."""
    from gdro.study.config import parse_seeds

    seeds = parse_seeds(text)
    check_seed(max(seeds), "--seeds")
    if not recipe.evaluation.samples:
        raise GdroError("--seeds compares evaluations, and evaluation.samples is 0; give it, e.g. 16")
    return seeds


def _train_seeds(arguments: argparse.Namespace, recipe: Any, seeds: list[int], output: Path) -> int:
    from functools import partial

    from gdro.cli.tables import print_table
    from gdro.recipes.run import run
    from gdro.recipes.seeds import SEEDS, rows, run_seeds

    found = run_seeds(recipe, seeds, output, partial(run, resume=arguments.resume))
    print_table(*rows(found))
    print(f"\nresults: {output / SEEDS}")
    return 0


def arms_of(strategies: Sequence[str]) -> dict[str, str]:
    """The override that makes an arm of each strategy, by the arm's name.

    Raises:
        GdroError: A strategy is misspelt, or two get one name.
    """
    made: dict[str, str] = {}
    for strategy in strategies:
        make_strategy(strategy)  # a misspelt name is told before anything heavy is imported
        name = re.sub(r"[^A-Za-z0-9]+", "-", strategy).strip("-")
        if name in made:
            raise GdroError(
                f"--strategy {strategy!r} makes a second arm {name!r}; name them yourself, e.g. "
                f"arms.first.strategy=NAME arms.first.options.OPTION=VALUE"
            )
        made[name] = f"arms.{name}.strategy={strategy}"
    return made
