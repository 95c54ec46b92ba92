"""The command line: `gdro train | eval | simulate | study | report | strategies | ...`."""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gdro import __version__
from gdro.cli import data, evaluate, report, train, verl
from gdro.cli.explain import explanation, table
from gdro.cli.extras import advice, check_packages
from gdro.cli.parser import Command, Parser
from gdro.cli.train import EPILOG, arms_of
from gdro.common.files import check_folder
from gdro.common.hints import did_you_mean
from gdro.common.redaction import hidden
from gdro.common.untrusted import printable
from gdro.errors import GdroError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with some arguments (default: the process's); 0, or 2 on bad input."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # print names that cannot be encoded as escapes
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        check_packages(arguments)
        return arguments.run(arguments)
    except GdroError as error:
        message = str(error)
    except ImportError as error:
        message = f"{error}{advice(error, arguments.command)}"
    except OSError as error:  # a full disk, a folder without write permission, a file that was deleted
        message = str(error)
    print(printable(hidden(f"gdro: {message}")), file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    description = "RL post-training that spends its rollouts where learning happens."
    parser = Parser(prog="gdro", description=description, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"gdro {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Command)
    train.add(commands)
    evaluate.add(commands)
    _add_simulate(commands)
    _add_study(commands)
    report.add(commands)
    data.add(commands)
    verl.add(commands)
    show = commands.add_parser("strategies", help="list strategies, or explain one")
    show.add_argument("name", nargs="?", help="explain this strategy and its options")
    show.set_defaults(run=_strategies)
    return parser


_SIMULATE = """examples:
  gdro simulate                                                   plain GRPO and both controllers
  gdro simulate --strategy prompt-gdro arms.prompt-gdro.options.eta=2
  gdro simulate population.unlearnable=0.3 population.wrong_labels=0.1 num_steps=500
  gdro simulate population.num_prompts=1000000 batch=4096 num_steps=100"""
_STUDY = """examples:
  gdro study studies/smoke.yaml                          a minute: does it work on this machine?
  gdro study studies/headline.yaml --workers 2           the figures of the README
  gdro study studies/mine.yaml --explore                 explore on seeds that are never reported
  gdro study studies/mine.yaml seeds=100-103 training.num_steps=100"""


def _add_simulate(commands: Any) -> None:
    simulate = commands.add_parser(
        "simulate",
        help="compare strategies on a synthetic population, without a model",
        description="Train a logistic policy on a synthetic population (DAPO's size by default) with "
        "the real controllers, and write the run log, summary.json and report.html of a training run. "
        "It shows what a controller does at scale and whether it is stable; it cannot show how a "
        "language model generalises, so never choose a strategy by it alone.",
        epilog=_SIMULATE,
    )
    strategy = "an arm with this strategy (repeatable)"
    simulate.add_argument("--strategy", metavar="NAME", action="append", help=strategy)
    output = "folder of the run (%(default)s)"
    simulate.add_argument("--output", type=Path, default=Path("runs/simulate"), help=output)
    keys = (
        "num_steps, batch, rollouts, k, seed, delay, difficulty.*, arms.NAME.options.*, population.* "
        "(num_prompts, unlearnable, wrong_labels, verifier_noise, verifier_drift, rate_shared, "
        "rate_skill, rate_own, ...)"
    )
    simulate.add_argument("overrides", nargs="*", metavar="key=value", help=keys)
    simulate.set_defaults(run=_simulate)


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="compare strategies over paired seeds on small models, with intervals",
        description="Train every arm of a study on every testbed and seed, at equal rollouts, and write "
        "table.md, report.html and results/<study>.json. Finished runs are not run again, so the same "
        "command continues after a kill.",
        epilog=_STUDY,
    )
    study.add_argument("config", type=Path, help="YAML file of the study")
    explore = "run the exploration seeds; writes no results"
    study.add_argument("--explore", action="store_true", help=explore)
    study.add_argument("--workers", type=int, help="processes (default: the number of cores)")
    for name, folder, text in (
        ("--output", "runs/studies", "folder of the runs"),
        ("--results", "results", "folder of the published results"),
    ):
        study.add_argument(name, type=Path, default=Path(folder), help=f"{text} (%(default)s)")
    study.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. training.num_steps=50")
    study.set_defaults(run=_study)


def _study(arguments: argparse.Namespace) -> int:
    import os

    from gdro.common.progress import bar
    from gdro.study.config import load_study

    check_folder(arguments.output, "--output")
    check_folder(arguments.results, "--results")
    study = load_study(arguments.config, arguments.overrides)
    from gdro.study.explored import CONFIRMATION, EXPLORATION, refuse_explored
    from gdro.study.publication import publish
    from gdro.study.runner import run_study

    workers = (os.cpu_count() or 1) if arguments.workers is None else arguments.workers
    if workers < 1:
        raise GdroError(f"--workers is {workers}; it must be at least 1")
    folder = arguments.output / study.name / (EXPLORATION if arguments.explore else CONFIRMATION)
    if not arguments.explore:
        refuse_explored(study, arguments.output)

    def progress(finished: Any, **sizes: int) -> Any:
        return bar(finished, desc=study.name, unit="run", smoothing=0.0, **sizes)

    records = run_study(study, folder, arguments.explore, workers, progress)
    files = publish(study, records, folder, arguments.results, arguments.explore)
    print(files.table.read_text())
    print(f"report:  {files.page}")
    print(f"results: {files.results or 'none: exploration seeds are never results'}")
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from gdro.cli.tables import print_summary
    from gdro.common.config import merge
    from gdro.common.progress import bar
    from gdro.report import write_report
    from gdro.simulate import Simulation, simulate

    check_folder(arguments.output, "--output")
    names = arguments.strategy or ["uniform", "prompt-gdro", "rollout-gdro"]
    overrides = [*arms_of(names).values(), *arguments.overrides]
    simulation = merge(Simulation, [], overrides, "simulation", GdroError)
    _check_named(simulation.arms, overrides)
    summary = simulate(simulation, arguments.output, partial(bar, total=simulation.num_steps))
    page = write_report([arguments.output], arguments.output / "report.html")
    print_summary(summary)
    print(f"\nsummary: {arguments.output / 'summary.json'}\nreport:  {page}")
    return 0


def _check_named(arms: Any, overrides: Sequence[str]) -> None:
    """Refuse an arm that only has options: its name is misspelt, or its strategy is missing."""
    named = {m[1] for text in overrides if (m := re.match(r"arms\.([^.=]+)(\.strategy)?=", text))}
    if any(text.startswith("arms=") for text in overrides):
        return
    for name in arms:
        if name not in named:
            guess, known = did_you_mean(name, sorted(named)), ", ".join(sorted(named))
            raise GdroError(
                f"no arm {name!r}{guess} (arms: {known}); a new one needs arms.{name}.strategy=NAME"
            )


def _strategies(arguments: argparse.Namespace) -> int:
    print(table() if arguments.name is None else explanation(arguments.name))
    return 0
