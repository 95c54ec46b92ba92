"""`gdro report` and `gdro diagnose`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from gdro.common.files import check_file, check_folder
from gdro.common.untrusted import printable
from gdro.errors import GdroError
from gdro.step.checks import check_seed

_REPORT = """\
examples:
  gdro report runs/quickstart                            the arms of a recipe, side by side
  gdro report outputs/mine/gdro -o mine.html --open      a trainer's run log, opened in a browser
  gdro report runs/a runs/b --png figures                two runs, and each figure as a file
  gdro report outputs/mine --serve                       follow a training run that still writes"""
_DIAGNOSE = """\
examples:
  gdro diagnose rewards.jsonl                            lines of {"prompt_id": ..., "rewards": [...]}
  gdro diagnose outputs/mine/completions                 what TRL writes with log_completions=True
  gdro diagnose rollout_data --right-above 0             verl's trainer.rollout_data_dir
  gdro diagnose mine.csv --id question --reward score    your own columns
  gdro diagnose runs/mine/gdro/groups.jsonl              the rollout groups of a gdro run log
  gdro diagnose rewards.jsonl --right-above 0 --strategy "mopps + rollout-gdro\""""


def add(commands: Any) -> None:
    """Add both commands to the parser."""
    report = commands.add_parser(
        "report",
        help="draw the page that explains a run",
        description="Draw runs side by side in one page that needs no network: verdicts, figures with "
        "tooltips and their numbers, and a table of all prompts.",
        epilog=_REPORT,
    )
    report.add_argument("runs", nargs="+", type=Path, help="run folder(s), e.g. runs/quickstart")
    report.add_argument("-o", "--output", type=Path, help="default: report.html in the first run")
    _add_pictures(report)
    serving = "serve the page to this machine only, updated while training writes"
    report.add_argument("--serve", action="store_true", help=serving)
    report.add_argument("--port", type=int, default=0, help="port of --serve (default: a free one)")
    report.set_defaults(run=_report)
    diagnose = commands.add_parser(
        "diagnose",
        help="analyse a reward log, and show what each strategy would have done with its budget",
        description="Read a reward log of any program: pass rates, wasted rollouts, and where each "
        "strategy would have spent the same number of rollouts. No model is needed.",
        epilog=_DIAGNOSE,
    )
    data = (
        "a file (JSON, JSONL, CSV, parquet; gzip too), folder or pattern with one rollout or one group "
        "a row: logs of TRL, verl, OpenRLHF, prime-rl, lm-eval, wandb, your own, or a groups.jsonl"
    )
    diagnose.add_argument("data", type=Path, help=data)
    key = "column that names the prompt, a.b inside of another (default: found by usual names)"
    diagnose.add_argument("--id", metavar="COLUMN", help=key)
    reward = "column of the reward, repeatable: their sum (default: found by usual names)"
    diagnose.add_argument("--reward", metavar="COLUMN", action="append", default=[], help=reward)
    right = "a rollout is right if its reward is above R (%(default)s)"
    diagnose.add_argument("--right-above", type=float, default=0.5, metavar="R", help=right)
    strategy = "a strategy to try (repeatable)"
    diagnose.add_argument("--strategy", metavar="NAME", action="append", help=strategy)
    diagnose.add_argument("--seed", type=int, default=0, help="seed of the trial (%(default)s)")
    diagnose.add_argument("-o", "--output", type=Path, help="default: DATA with suffix .html")
    _add_pictures(diagnose)
    diagnose.set_defaults(run=_diagnose)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--png", type=Path, metavar="DIR", help="also write each figure as PNG")
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def _report(arguments: argparse.Namespace) -> int:
    if arguments.serve:
        return _serve(arguments)
    from gdro.report import write_report

    output = arguments.output or arguments.runs[0] / "report.html"
    if arguments.output is not None:
        check_file(output, "--output")
    _check_png(arguments)
    return _finish(write_report(arguments.runs, output, arguments.png), arguments.open)


def _serve(arguments: argparse.Namespace) -> int:
    import webbrowser

    from gdro.report.serve import ReportServer

    if not 0 <= arguments.port < 2**16:
        raise GdroError(f"--port is {arguments.port}; it must be 0 (a free one) to {2**16 - 1}")
    if arguments.output or arguments.png:
        raise GdroError("--serve writes no files; leave out -o and --png, or --serve")
    missing = next((run for run in arguments.runs if not run.is_dir()), None)
    if missing is not None:
        raise GdroError(f"{missing} is not a folder; pass the output_dir of a trainer")
    with ReportServer(arguments.runs, arguments.port) as server:
        print(f"{server.url} (keep this address private; Ctrl-C stops the server)", flush=True)
        if arguments.open:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def _diagnose(arguments: argparse.Namespace) -> int:
    from gdro.report.diagnose import diagnose
    from gdro.report.diagnose.replay import DEFAULT_ARMS

    check_seed(arguments.seed, "--seed")
    if not math.isfinite(arguments.right_above):
        raise GdroError(f"--right-above is {arguments.right_above}; it must be a number")
    output = arguments.output or _beside(arguments.data)
    check_file(output, "--output")
    _check_png(arguments)
    result = diagnose(
        arguments.data,
        threshold=arguments.right_above,
        arms=arguments.strategy or DEFAULT_ARMS,
        seed=arguments.seed,
        id_column=arguments.id,
        reward_columns=arguments.reward,
    )
    status = _finish(result.write(output, arguments.png), arguments.open)
    print(printable("\n".join(["", *result.log.notes, result.conclusion.text])))
    return status


def _beside(data: Path) -> Path:
    """The page's file beside a log; in the current folder for a pattern."""
    if data.is_dir():
        return data / "diagnosis.html"
    if not data.exists():
        return Path("diagnosis.html")
    return data.with_name(data.name.removesuffix(".gz")).with_suffix(".html")


def _check_png(arguments: argparse.Namespace) -> None:
    if arguments.png is not None:
        check_folder(arguments.png, "--png")


def _finish(page: Path, show: bool) -> int:
    import webbrowser

    print(page)
    if show:
        webbrowser.open(page.absolute().as_uri())
    return 0
