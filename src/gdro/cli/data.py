"""`gdro data`: math datasets in the schemas of the trainers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gdro.common.files import check_file, check_folder
from gdro.common.untrusted import printable
from gdro.data.presets import PRESETS

_EPILOG = f"""\
datasets of the hub: {", ".join(PRESETS)}

examples:
  gdro data gsm8k                                                  its statistics
  gdro data dapo-math-14k --to-parquet data/dapo-math-14k         for verl: train.parquet
  gdro data math-500 --to-parquet data/math-500                   for evaluation: test.parquet
  gdro data math-500 --from math500.jsonl --to-jsonl math.jsonl   offline, for TRL
  gdro data mine.csv --problem Task --answer Result               your own file
  gdro data shards --answer reward_model.ground_truth             a folder; a column inside a column
  gdro data math --overlap math-500 --overlap aime.jsonl --remove-overlap --to-jsonl train.jsonl
  gdro data "reasoning-gym:chain_sum?size=2000&seed=1" --to-jsonl sums.jsonl"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    data = commands.add_parser(
        "data",
        help="load a math dataset, remove duplicates, show its statistics, write it for a trainer",
        description="Load a dataset from the Hugging Face hub, a local file or reasoning-gym, keep one "
        "row per problem, print its statistics, and write it. Ids are hashes of the problem's text, so "
        "they do not change when rows are added, removed or reordered.",
        epilog=_EPILOG,
    )
    option = data.add_argument
    name = (
        "a dataset of the hub, a file (.gz too), a folder or pattern of files, or "
        "reasoning-gym:NAME?size=...&seed=..."
    )
    option("name", help=name)
    option("--from", dest="file", type=Path, metavar="FILE", help="read a local file instead of the hub")
    option("--problem", metavar="COLUMN", help="column of the problem in your own file")
    option("--answer", metavar="COLUMN", help="column of the answer in your own file")
    option("--skip-damaged", action="store_true", help="leave out rows that cannot be read")
    dedup = (
        "problems are duplicates if they differ only in spaces, case, punctuation and LaTeX spacing, or "
        "only in spaces (%(default)s)"
    )
    option("--dedup", choices=("normalised", "exact"), default="normalised", help=dedup)
    overlap = "count the problems that are also in this dataset (repeatable)"
    option("--overlap", action="append", default=[], metavar="SET", help=overlap)
    option("--remove-overlap", action="store_true", help="leave out the problems of --overlap")
    check = "check that the math reward accepts each answer, and rejects the next problem's"
    option("--check", action="store_true", help=check)
    option("--limit", type=int, help="use only the first LIMIT problems")
    option("--to-parquet", type=Path, metavar="DIR", help="write verl's schema into this folder")
    option("--to-jsonl", type=Path, metavar="FILE", help="write rows for TRL")
    style = "prompt format of --to-jsonl (default: the problem alone)"
    option("--style", choices=("chat", "plain"), help=style)
    data.set_defaults(run=_data)


def _data(arguments: argparse.Namespace) -> int:
    from gdro.cli.tables import print_table
    from gdro.data import DataError, load_with_report, prompts, statistics
    from gdro.data.load import prose_note
    from gdro.data.prompts import write_jsonl
    from gdro.data.verl_schema import check_for_verl, write_parquet

    if arguments.limit is not None and arguments.limit < 1:
        raise DataError(f"--limit is {arguments.limit}; it must be at least 1")
    if arguments.to_parquet is not None:
        check_folder(arguments.to_parquet, "--to-parquet")
    if arguments.to_jsonl is not None:
        check_file(arguments.to_jsonl, "--to-jsonl")
    if arguments.style is not None and arguments.to_jsonl is None:
        raise DataError(
            "--style was given without --to-jsonl, whose prompts it formats; pass both, or neither"
        )
    if arguments.remove_overlap and not arguments.overlap:
        raise DataError("--remove-overlap was given without --overlap SET; pass both")
    options = {name: getattr(arguments, name) for name in ("skip_damaged", "dedup", "problem", "answer")}
    table, report = load_with_report(arguments.name, arguments.file, **options)
    for damage in report.damaged:
        print(printable(f"skipped {damage}"))
    lines = [
        ("rows read", f"{report.read:,}"),
        ("duplicates", f"{report.duplicates:,}"),
        ("duplicates with another answer", f"{report.contradictions:,}"),
    ]
    lines += _left_out(report)
    for other in arguments.overlap:
        table, count = _without(table, other, arguments.remove_overlap)
        lines.append((f"in {other}", count))
    if arguments.limit is not None:
        table = table.select(range(min(arguments.limit, len(table))))
    lines += statistics(table)
    if arguments.to_parquet is not None:
        check_for_verl(table)
    if arguments.check:
        lines += _checked(table)
    print_table(("", arguments.name), lines)
    if report.prose:
        print(f"warning: {prose_note(report, len(table))}")
    if arguments.to_parquet is not None:
        split = PRESETS[arguments.name].split if arguments.name in PRESETS else "train"
        path = arguments.to_parquet / f"{split}.parquet"
        write_parquet(table, path)
        print(f"{len(table):,} problems: {path}")
    if arguments.to_jsonl is not None:
        write_jsonl(prompts(table, arguments.style) if arguments.style else table, arguments.to_jsonl)
        print(f"{len(table):,} problems: {arguments.to_jsonl}")
    return 0


def _without(table: Any, other: str, remove: bool) -> tuple[Any, str]:
    """The dataset, without the problems of another if asked, and their number in words."""
    from gdro.data import DataError, load, overlap

    common = overlap(table["prompt"][:], load(other)["prompt"][:])
    if remove:
        removed = {*common.same, *common.near}
        table = table.select([i for i in range(len(table)) if i not in removed])
        if not len(table):
            raise DataError(f"no problem is left: all are in {other}; leave out --remove-overlap")
    what = "removed" if remove else "kept"
    return table, f"{len(common.same):,} the same, {len(common.near):,} near ({what})"


def _left_out(report: Any) -> list[tuple[str, str]]:
    """Lines for what was taken out of problems and answers, if anything was."""
    counts = (
        ("instructions left out of problems", report.instructions),
        ("system messages left out", report.systems),
        ("answers read out of solutions", report.solutions),
    )
    return [(name, f"{count:,}") for name, count in counts if count]


def _checked(table: Any) -> list[tuple[str, str]]:
    """How often the reward accepts each answer, and the math reward the next problem's in its place."""
    from gdro.rewards import MathVerifier, gym_reward

    answers = table["answer"][:]
    boxes = [f"\\boxed{{{answer}}}" for answer in answers]
    if "entry" in table.column_names:
        rewards = gym_reward()(completions=boxes, entry=table["entry"][:])
        right = sum(reward == 1 for reward in rewards)
        return [("accepted by reasoning-gym's scorer", f"{right:,} of {len(answers):,}")]
    with MathVerifier() as verifier:
        right = sum(verifier.score(answers, boxes))
        others = verifier.score(answers, boxes[1:] + boxes[:1])
    pairs = zip(answers[1:] + answers[:1], answers, others, strict=True)
    accepted = [f"{given} for {gold}" for given, gold, same in pairs if same and given != gold]
    equal = sum(others) - len(accepted)
    wrong = f"{equal:,} equal texts, {len(accepted):,} others {'; '.join(accepted[:8])}"
    return [
        ("accepted for their own problem", f"{right:,} of {len(answers):,}"),
        ("accepted for the next problem", wrong),
    ]
