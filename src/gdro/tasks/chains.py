"""Chains of operations modulo ten: small enough for a CPU, heavy-tailed by construction.

A prompt is one to five operations, padded with dots, and the digit to start from: `*3a4...7` is 7 * 3
and then `a` 4. The answer is the digit after each operation, `15`. Six operations of increasing
difficulty make 600 facts to learn; an answer is right only if every fact in the chain is.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.errors import ProblemError
from gdro.tasks.base import TaskData
from gdro.tasks.chain_rules import MAX_LENGTH, draw_prompt, solve

WARM_START = "warm_start/chains"


def exact_match(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """TRL reward function: 1 where the completion is the answer, else 0."""
    return [float(c.strip() == a) for c, a in zip(completions, answer, strict=True)]


def make_datasets(seed: int, train_size: int, heldout_size: int) -> tuple[Dataset, Dataset]:
    """Distinct prompts, lengths 1 to 5 in equal shares, as training and held-out datasets.

    The columns are `prompt`, `answer`, `prompt_id` and `length`.

    Raises:
        ProblemError: More rows are requested than there are short prompts.
    """
    total = train_size + heldout_size
    if not 1 <= total <= 2000 or min(train_size, heldout_size) < 1:
        raise ProblemError(
            f"train_size is {train_size} and heldout_size {heldout_size}; each must be at least 1, "
            "together at most 2000 (a fifth of the prompts has length one, of which there are 600)"
        )
    rng = np.random.default_rng([seed, 17])
    prompts: dict[str, int] = {}
    while len(prompts) < total:
        length = 1 + len(prompts) % MAX_LENGTH
        prompts.setdefault(draw_prompt(rng, length), length)
    rows = [{"prompt": p, "answer": solve(p), "prompt_id": p, "length": n} for p, n in prompts.items()]
    order = rng.permutation(total)
    picked = [rows[i] for i in order]
    return Dataset.from_list(picked[:train_size]), Dataset.from_list(picked[train_size:])


def load(seed: int = 0, train_size: int = 1000, heldout_size: int = 256) -> TaskData:
    """The quickstart task with the warm start that ships with the package.

    Args:
        seed: Seed of the prompts.
        train_size: Number of training prompts.
        heldout_size: Number of held-out prompts; at most 2000 in total.

    Returns:
        The task: data, reward and model.
    """
    train, heldout = make_datasets(seed, train_size, heldout_size)
    with as_file(files("gdro.tasks") / WARM_START) as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    return TaskData(train, heldout, [exact_match], model, tokenizer)
