"""Problems of GSM8K: read, checked, and divided by purpose."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdro.data.presets import PRESETS
from gdro.data.rows import Damaged, DataError, file_rows, hub_rows
from gdro.tasks.base import TaskError
from gdro.tasks.gsm8k_grading import cleaned, final_answer

SETS = ("train", "test")
Row = dict[str, str]


@dataclass(frozen=True)
class SplitSizes:
    """Numbers and lengths of the problems of each part.

    Attributes:
        pool: Problems for reinforcement learning.
        reserved: Short problems of the training set that the base is not fine-tuned on; the pool is
            the first of them.
        heldout: Short problems of the test set for evaluation.
        longest_solution: Most tokens of a short problem's solution, so that rollouts are cheap.
        longest_prompt: Most tokens of a short problem's prompt.
        longest_taught: Most tokens of a solution that the base is fine-tuned on.
    """

    pool: int = 400
    reserved: int = 1500
    heldout: int = 256
    longest_solution: int = 80
    longest_prompt: int = 100
    longest_taught: int = 160


@dataclass(frozen=True)
class Split:
    """Problems by purpose; a row has `prompt`, `answer`, `prompt_id` and `solution`."""

    taught: list[Row] = field(repr=False)
    pool: list[Row] = field(repr=False)
    heldout: list[Row] = field(repr=False)


def split(rows: Mapping[str, list[Row]], tokenizer: Any, sizes: SplitSizes) -> Split:
    """Divide the problems of `train` and `test`; a fixed seed orders them.

    Raises:
        TaskError: Too few problems are short.
    """
    lengths = {name: _lengths(own, tokenizer) for name, own in rows.items()}

    def short(name: str) -> list[Row]:
        pairs = zip(rows[name], lengths[name], strict=True)
        most = (sizes.longest_prompt, sizes.longest_solution)
        problems = [row for row, (p, s) in pairs if p <= most[0] and s <= most[1]]
        random.Random(0).shuffle(problems)
        return problems

    reserved, heldout = short("train")[: sizes.reserved], short("test")
    if len(reserved) < sizes.pool or len(heldout) < sizes.heldout:
        raise TaskError(
            f"sizes: pool {sizes.pool} and heldout {sizes.heldout}, but reserved holds {len(reserved)} "
            f"short training problems, and {len(heldout)} of the test set are short; lower them"
        )
    away = {row["prompt_id"] for row in reserved}
    pairs = zip(rows["train"], lengths["train"], strict=True)
    others = [(row, solution) for row, (_, solution) in pairs if row["prompt_id"] not in away]
    taught = [row for row, solution in others if solution <= sizes.longest_taught]
    return Split(taught, reserved[: sizes.pool], heldout[: sizes.heldout])


def read(files: Mapping[str, str] | None) -> dict[str, list[Row]]:
    """All problems of the training and the test set, `train` and `test`.

    Args:
        files: Local files with GSM8K's columns by set; a set without one is read from the hub.

    Raises:
        DataError: A set cannot be read, or has rows that are not GSM8K's.
        TaskError: `files` is no mapping, or names another set.
    """
    if files is not None and not isinstance(files, Mapping):
        raise TaskError(f"files is {files!r}; give files.train=FILE and files.test=FILE")
    strange = [name for name in files or {} if name not in SETS]
    if strange:
        raise TaskError(f"files has no {strange[0]!r}; there are: {', '.join(SETS)}")
    return {name: _set(name, (files or {}).get(name)) for name in SETS}


def _set(name: str, given: str | None) -> list[Row]:
    preset = dataclasses.replace(PRESETS["gsm8k"], split=name)
    try:
        raw = file_rows(Path(given)) if given else hub_rows(preset)
    except DataError as problem:
        if given:
            raise
        raise DataError(
            f"{problem}; here: task_options.files.train=FILE task_options.files.test=FILE (of python -m "
            "gdro.tasks.gsm8k: --train FILE --test FILE)"
        ) from problem
    if not raw:
        raise DataError(f"{given or preset.hub} has no rows; give GSM8K with its worked solutions")
    wrong = {place: fault for place, row in enumerate(raw) if (fault := _fault(row))}
    if wrong:
        place, fault = next(iter(wrong.items()))
        raise DataError(
            f"in {given or preset.hub} {len(wrong)} of {len(raw)} rows are not GSM8K's; row {place}: "
            f"{fault}; give GSM8K with its worked solutions"
        )
    return [row_of(row, f"{name}-{i}") for i, row in enumerate(raw) if isinstance(row, dict)]


def _fault(row: Any) -> str | None:
    """What is wrong with a row as it was read."""
    if isinstance(row, Damaged):
        return str(row)
    texts = [row.get(column) for column in ("question", "answer")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return "its question or answer is missing or no text"
    solution = cleaned(row["answer"])
    if solution.count("####") != 1 or final_answer([solution], [_gold(solution)]) != [1.0]:
        return f"its answer ends with {row['answer'][-20:]!r}, and not with one #### and a number"
    return None


def row_of(row: Mapping[str, Any], name: str) -> Row:
    """A problem of the task from a row of the set."""
    solution = cleaned(row["answer"])
    prompt = f"Question: {row['question'].strip()}\nAnswer:"
    return {"prompt": prompt, "prompt_id": name, "answer": _gold(solution), "solution": solution}


def _gold(solution: str) -> str:
    return solution.rpartition("####")[2].strip()


def digest_of(problems: Sequence[Row]) -> str:
    """Hash of the texts of problems, in their order."""
    state = hashlib.sha256()
    for row in problems:
        state.update(json.dumps([row["prompt"], row["solution"]]).encode())
    return state.hexdigest()[:16]


def _lengths(rows: Sequence[Row], tokenizer: Any) -> list[tuple[int, int]]:
    prompts, solutions = (
        [len(ids) for ids in tokenizer([row[name] for row in rows])["input_ids"]]
        for name in ("prompt", "solution")
    )
    return list(zip(prompts, solutions, strict=True))
