"""The command line of a sitting."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path


def parser(description: str | None, phases: Sequence[str]) -> argparse.ArgumentParser:
    """The command line."""
    plain = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(description=description, formatter_class=plain)
    commands = made.add_subparsers(dest="command", required=True)
    first = commands.add_parser("prepare", help="write what a machine without a network needs")
    first.add_argument("--to", type=Path, default=Path(".carry"), help="folder (%(default)s)")
    first.add_argument("--train", type=Path, required=True, help="GSM8K with worked solutions")
    first.add_argument("--test", type=Path, required=True, help="its test problems")
    for name in ("run", "mini"):
        one = commands.add_parser(name, help="phases on a GPU" if name == "run" else "all on a CPU")
        one.add_argument("--out", type=Path, default=Path("runs/sitting"), help="what comes back")
        work = Path(tempfile.gettempdir()) / ("gdro-sitting" if name == "run" else "gdro-mini")
        one.add_argument("--work", type=Path, default=work, help="outlives a call (%(default)s)")
        one.add_argument("--budget", type=float, default=540.0, help="seconds of all phases")
        one.add_argument(
            "--arms", default="grpo,rollout-gdro-memory,gdro,gdro-tail,dapo", help="of the recipe"
        )
        one.add_argument("--seeds", default="0-9", help="first-last")
        one.add_argument("--workers", type=int, default=2, help="trainings at once (%(default)s)")
        one.add_argument("--share", action="store_true", help="let processes share the GPU by MPS")
        one.add_argument(
            "--needed", type=float, default=30.0, help="no run starts with fewer seconds left"
        )
        one.add_argument("--carried", type=Path, default=Path(".carry"), help="what prepare wrote")
        one.add_argument("--phases", default=",".join(phases), help="some of %(default)s")
        one.add_argument("overrides", nargs="*", help="of the recipe gsm8k_smollm2, key=value")
    return made
