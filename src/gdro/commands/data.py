"""`gdro data`: public math sets in the schemas of the trainers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gdro.data.presets import PRESETS


def add(commands: Any) -> None:
    """Add the command to the parser."""
    data = commands.add_parser(
        "data",
        help="load a public math set, remove duplicates, write it for a trainer",
        description="Load a set from the Hugging Face hub or a local file with its columns, keep one "
        "row a problem, and write it. Ids are hashes of the problem's text, so that they stay when rows "
        "are added, removed or reordered.",
        epilog="""examples:
  gdro data dapo-math-14k --to-parquet data/dapo-math-14k         for verl: train.parquet
  gdro data math-500 --to-parquet data/math-500                   its evaluation: test.parquet
  gdro data math-500 --from math500.jsonl --to-parquet data/math-500 --limit 100""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data.add_argument("name", choices=sorted(PRESETS), help="which set")
    data.add_argument("--from", dest="file", type=Path, metavar="FILE", help="local file, not the hub")
    data.add_argument("--limit", type=int, help="only the first so many problems")
    data.add_argument(
        "--to-parquet",
        type=Path,
        metavar="DIR",
        required=True,
        help="write verl's schema into this folder",
    )
    data.set_defaults(run=_data)


def _data(arguments: argparse.Namespace) -> int:
    from gdro.data.load import DataError, load
    from gdro.data.verl_schema import write_parquet

    table = load(arguments.name, arguments.file)
    if arguments.limit is not None:
        if arguments.limit < 1:
            raise DataError(f"--limit is {arguments.limit}; it must be at least 1")
        table = table.select(range(min(arguments.limit, len(table))))
    path = arguments.to_parquet / f"{PRESETS[arguments.name].split}.parquet"
    write_parquet(table, path)
    print(f"{len(table):,} problems: {path}")
    return 0
