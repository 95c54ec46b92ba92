"""`gdro data`: math sets in the schemas of the trainers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gdro.common.files import check_file, check_folder
from gdro.common.texts import printable
from gdro.data.presets import PRESETS

_EPILOG = f"""\
sets of the hub: {", ".join(PRESETS)}

examples:
  gdro data gsm8k                                                  what is in it
  gdro data dapo-math-14k --to-parquet data/dapo-math-14k         for verl: train.parquet
  gdro data math-500 --to-parquet data/math-500                   its evaluation: test.parquet
  gdro data math-500 --from math500.jsonl --to-jsonl math.jsonl   offline, for TRL
  gdro data mine.csv --problem Task --answer Result               a file of yours
  gdro data math --overlap math-500 --overlap aime.jsonl --remove-overlap --to-jsonl train.jsonl
  gdro data "reasoning-gym:chain_sum?size=2000&seed=1" --to-jsonl sums.jsonl"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    data = commands.add_parser(
        "data",
        help="load a math set, remove duplicates, look at it, write it for a trainer",
        description="Load a set from the Hugging Face hub, a local file or reasoning-gym, keep one row "
        "a problem, say what is in it, and write it. Ids are hashes of the problem's text, so that they "
        "stay when rows are added, removed or reordered.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data.add_argument("name", help="a set of the hub, a file, or reasoning-gym:NAME?size=...&seed=...")
    data.add_argument("--from", dest="file", type=Path, metavar="FILE", help="local file, not the hub")
    data.add_argument("--problem", metavar="COLUMN", help="column of the problem in a file of yours")
    data.add_argument("--answer", metavar="COLUMN", help="column of the answer in a file of yours")
    data.add_argument("--skip-damaged", action="store_true", help="leave out rows that cannot be read")
    data.add_argument(
        "--dedup",
        choices=("normalised", "exact"),
        default="normalised",
        help="problems that differ in spaces, case, punctuation and LaTeX spacing are one, or in "
        "spaces only (%(default)s)",
    )
    data.add_argument(
        "--overlap", action="append", default=[], metavar="SET", help="what is in this set too"
    )
    data.add_argument("--remove-overlap", action="store_true", help="leave those problems out")
    data.add_argument(
        "--check",
        action="store_true",
        help="does the math reward take each answer for itself, and not the next one?",
    )
    data.add_argument("--limit", type=int, help="only the first so many problems")
    data.add_argument(
        "--to-parquet", type=Path, metavar="DIR", help="write verl's schema into this folder"
    )
    data.add_argument("--to-jsonl", type=Path, metavar="FILE", help="write rows for TRL")
    data.add_argument(
        "--style", choices=("chat", "plain"), help="prompts of --to-jsonl (default: the problem alone)"
    )
    data.set_defaults(run=_data)


def _data(arguments: argparse.Namespace) -> int:
    from gdro.cli.tables import print_table
    from gdro.data import DataError, load_with_report, prompts, statistics
    from gdro.data.prompts import write_jsonl
    from gdro.data.verl_schema import write_parquet

    if arguments.limit is not None and arguments.limit < 1:
        raise DataError(f"--limit is {arguments.limit}; it must be at least 1")
    if arguments.to_parquet is not None:
        check_folder(arguments.to_parquet, "--to-parquet")
    if arguments.to_jsonl is not None:
        check_file(arguments.to_jsonl, "--to-jsonl")
    if arguments.style is not None and arguments.to_jsonl is None:
        raise DataError("--style is of the prompts of --to-jsonl; pass that too, or leave it out")
    if arguments.remove_overlap and not arguments.overlap:
        raise DataError("--remove-overlap needs --overlap SET")
    table, report = load_with_report(
        arguments.name,
        arguments.file,
        skip_damaged=arguments.skip_damaged,
        dedup=arguments.dedup,
        problem=arguments.problem,
        answer=arguments.answer,
    )
    for damage in report.damaged:
        print(printable(f"skipped {damage}"))
    lines = [
        ("rows read", f"{report.read:,}"),
        ("duplicates", f"{report.duplicates:,}"),
        ("of them with another answer", f"{report.contradictions:,}"),
    ]
    for other in arguments.overlap:
        table, found = _without(table, other, arguments.remove_overlap)
        lines.append((f"in {other}", found))
    if arguments.limit is not None:
        table = table.select(range(min(arguments.limit, len(table))))
    lines += statistics(table)
    if arguments.check:
        lines += _checked(table["answer"][:])
    print_table(("", arguments.name), lines)
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
    """The set without what is in another, if asked, and what was found."""
    from gdro.data import DataError, load, overlap

    found = overlap(table["prompt"][:], load(other)["prompt"][:])
    if remove:
        common = {*found.same, *found.near}
        table = table.select([i for i in range(len(table)) if i not in common])
        if not len(table):
            raise DataError(f"nothing is left: all problems are in {other}")
    what = "removed" if remove else "kept"
    return table, f"{len(found.same):,} the same, {len(found.near):,} near ({what})"


def _checked(answers: list[str]) -> list[tuple[str, str]]:
    """What the math reward says of each answer, and of the next problem's in its place."""
    from gdro.rewards import MathVerifier

    boxes = [f"\\boxed{{{answer}}}" for answer in answers]
    with MathVerifier() as verifier:
        right = sum(verifier.score(answers, boxes))
        others = verifier.score(answers, boxes[1:] + boxes[:1])
    pairs = zip(answers[1:] + answers[:1], answers, others, strict=True)
    taken = [f"{given} for {gold}" for given, gold, same in pairs if same and given != gold]
    equal = sum(others) - len(taken)
    return [
        ("right of themselves", f"{right:,} of {len(answers):,}"),
        (
            "right of the next problem",
            f"{equal:,} equal texts, {len(taken):,} others {'; '.join(taken[:8])}",
        ),
    ]
