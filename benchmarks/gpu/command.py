"""The command line of a sitting, and checks of it before any work."""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import carry
from state import RECIPE, RESERVE, SPEED, START, Sitting, say

from gdro.common.files import check_file, check_folder
from gdro.errors import GdroError

FILES = (SPEED, "sitting.jsonl", "sitting.md", "steps.jsonl", "steps.md", "runs.tar.gz")
"""What a sitting writes into `--out`."""
_MARK = ".sitting"
_ON_BASE = {"base", "quality", "train"}


class ArgumentError(GdroError):
    """An argument is not allowed; says what is."""


def parser(description: str | None, phases: Sequence[str]) -> argparse.ArgumentParser:
    """The command line."""
    plain = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser(description=description, formatter_class=plain)
    commands = whole.add_subparsers(dest="command", required=True)
    _add_prepare(commands)
    for name in ("run", "mini"):
        one = commands.add_parser(
            name,
            help="phases on a GPU" if name == "run" else "all on a CPU",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        _add_options(one, name == "run", phases)
    return whole


def _add_prepare(commands: Any) -> None:
    about = "write what a machine without a network needs"
    more = (
        f"{about}: the model, the data, and wheels for Python 3.12 on Linux (x86_64) beside PyTorch. On "
        "the other machine: pip install --no-index --no-deps FOLDER/a/wheels/*.whl"
    )
    one = commands.add_parser(
        "prepare",
        help=about,
        description=more,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    one.add_argument(
        "--to",
        type=Path,
        default=Path(".carry"),
        help="folder, new or empty; one that prepare wrote before is renamed",
    )
    data = {"type": Path, "required": True, "default": argparse.SUPPRESS}
    one.add_argument("--train", **data, help="GSM8K with worked solutions, a JSON object a line")
    one.add_argument("--test", **data, help="its test problems")
    one.add_argument("--python", default="3.12", help="the other machine's Python")


def _add_options(one: argparse.ArgumentParser, real: bool, phases: Sequence[str]) -> None:
    one.add_argument("--out", type=Path, default=Path("runs/sitting"), help="what comes back")
    work = Path(tempfile.gettempdir()) / ("gdro-sitting" if real else "gdro-mini")
    one.add_argument("--work", type=Path, default=work, help="outlives a call")
    one.add_argument("--budget", type=float, default=540.0, help="seconds of all phases")
    one.add_argument(
        "--arms",
        default="grpo,rollout-gdro-memory,gdro,gdro-tail,dapo",
        help="of the recipe, compared with grpo at equal steps; dapo generates several times as many "
        "rollouts for a step: see the table's column `rollouts`",
    )
    one.add_argument("--seeds", default="0-9", help="first-last")
    one.add_argument("--workers", type=int, default=2, help="trainings at once, 1 or more")
    one.add_argument("--share", action="store_true", help="let processes share the GPU by MPS")
    one.add_argument("--needed", type=float, default=30.0, help="no run starts with fewer seconds left")
    one.add_argument("--carried", type=Path, default=Path(".carry"), help="what prepare wrote")
    one.add_argument("--phases", default=",".join(phases), help="some of these")
    one.add_argument("overrides", nargs="*", default=[], help=f"of the recipe {RECIPE}, key=value")


def sitting(given: argparse.Namespace, known: Sequence[str]) -> tuple[Sitting, list[str]]:
    """The sitting and the phases that a command line asks for, with its folders and data in place.

    Raises:
        GdroError: An argument is wrong, a folder cannot be used, or something was not carried.
    """
    phases, tiny = given.phases.split(","), given.command == "mini"
    unknown = [name for name in phases if name not in known]
    if unknown:
        raise ArgumentError(f"no phase {unknown[0]!r}; there are: {', '.join(known)}")
    seeds = _seeds(given.seeds)
    _check_numbers(given, "train" in phases and not tiny)
    arms = _arms(given.arms, given.overrides)
    check_folder(given.out, "--out")
    check_folder(given.work, "--work")
    for name in FILES:
        check_file(given.out / name, "--out")
    _claim(given.work)
    _create(given.out, "--out")
    wanted = Sitting(
        work=given.work,
        out=given.out,
        tiny=tiny,
        arms=arms,
        until=START + given.budget - (0 if tiny else RESERVE),
        workers=given.workers,
        seeds=seeds,
        overrides=given.overrides,
        needed=0.0 if tiny else given.needed,
        call=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    _bring(wanted, given.carried, phases)
    return wanted, phases


def _seeds(text: str) -> list[int]:
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if first > last:
        raise ArgumentError(f"--seeds is {text!r}; write first-last, the last no smaller, e.g. 1-9")
    return list(range(first, last + 1))


def _check_numbers(given: argparse.Namespace, trains: bool) -> None:
    if given.workers < 1:
        raise ArgumentError(f"--workers is {given.workers}; give 1 or more")
    if not (math.isfinite(given.needed) and given.needed >= 0):
        raise ArgumentError(f"--needed is {given.needed:g}; give seconds, 0 or more")
    if not (math.isfinite(given.budget) and given.budget > 0):
        raise ArgumentError(f"--budget is {given.budget:g}; give seconds, more than 0")
    least = RESERVE + given.needed
    if trains and given.budget <= least:
        raise ArgumentError(
            f"--budget is {given.budget:g}, in which no run can begin: give more than {least:g} "
            f"({RESERVE:g} for collecting, --needed {given.needed:g}), or leave train out of --phases"
        )


def _arms(text: str, overrides: list[str]) -> list[str]:
    """Names of arms, once the recipe with these overrides has them all."""
    from gdro.recipes.checks import check_arms, check_evaluation
    from gdro.recipes.schema import load_recipe

    names = text.split(",")
    recipe = load_recipe(RECIPE, overrides)
    unknown = [name for name in names if name not in recipe.arms]
    if unknown:
        raise ArgumentError(
            f"--arms: the recipe has no arm {unknown[0]!r}; there are: {', '.join(recipe.arms)}"
        )
    if len(set(names)) < len(names):
        raise ArgumentError(f"--arms is {text!r}; name each arm once")
    check_arms(recipe)
    check_evaluation(recipe)
    return names


def _create(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(
            f"{option} is {folder}, which cannot be created ({error.strerror}); give another"
        ) from error


def _claim(work: Path) -> None:
    """Mark a folder as a sitting's, which overwrites files there; refuse one with other files."""
    _create(work, "--work")
    if not (work / _MARK).is_file() and any(work.iterdir()):
        raise ArgumentError(
            f"--work is {work}, which holds files that no sitting wrote; give a new or empty folder, or "
            f"touch {work / _MARK} if the sitting of an earlier version wrote them"
        )
    (work / _MARK).touch()


def _bring(wanted: Sitting, carried: Path, phases: Sequence[str]) -> None:
    """Put data and model in place, and raise if something is missing that a phase needs."""
    import mini

    if wanted.tiny:
        mini.made_up(wanted.work)
        return
    wanted.gguf = carry.unpack(carried, wanted.work)
    say(f"model: {wanted.gguf or 'not whole yet'}")
    absent = not all(
        (wanted.work / name).exists() for name in ("train.jsonl", "test.jsonl", "tokenizer")
    )
    if absent and set(phases) != {"check"}:
        raise ArgumentError(
            f"--carried is {carried}, without the data and the tokenizer, and no earlier call brought "
            "them: give the folder that `sitting.py prepare` wrote"
        )
    if wanted.gguf is None and _ON_BASE & set(phases):
        raise ArgumentError(
            f"--carried is {carried}, and the model's file is not whole: bring all parts that prepare "
            f"wrote, one call after another, or leave out {', '.join(sorted(_ON_BASE & set(phases)))}"
        )
