"""Held-out evaluation: mean@k and unbiased pass@k with intervals, by slice of base difficulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gdro.bars import bar
from gdro.evaluation.scores import interval
from gdro.evaluation.transformers import encoded
from gdro.numerics.passk import passk_unbiased
from gdro.slices import SLICES
from gdro.types import FloatArray, IntArray


def count_successes(
    model: Any,
    tokenizer: Any,
    dataset: Any,
    reward: Callable[..., list[float]],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 256,
    seed: int = 0,
) -> IntArray:
    """Sample completions of every prompt and count the right ones.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, padding on the left.
        dataset: Rows with `prompt` (text, or a conversation) and the columns that `reward` needs.
        reward: A TRL reward function; above .5 is right.
        samples: Completions a prompt.
        max_new_tokens: Longest completion.
        temperature: Of the sampling; top-p and top-k are off.
        batch_size: Completions generated at once.
        seed: Of the sampling; the global generator is left as it was.

    Returns:
        Right completions of each prompt, shape (N,).
    """
    rows = [row for row in dataset for _ in range(samples)]
    scores: list[float] = []
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for start in bar(range(0, len(rows), batch_size), desc="evaluating", leave=False):
            batch = rows[start : start + batch_size]
            inputs = encoded(tokenizer, [r["prompt"] for r in batch])
            output = model.generate(
                input_ids=inputs["input_ids"].to(device),
                attention_mask=inputs["attention_mask"].to(device),
                do_sample=True, temperature=temperature, top_p=1.0, top_k=0,
                max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            tail = output[:, inputs["input_ids"].shape[1] :]
            texts = tokenizer.batch_decode(tail, skip_special_tokens=True)
            columns = {k: [r[k] for r in batch] for k in batch[0] if k != "prompt"}
            prompts = [r["prompt"] for r in batch]
            scores += reward(prompts=prompts, completions=texts, **columns)
    model.train(was_training)
    return (np.array(scores) > 0.5).reshape(-1, samples).sum(axis=1)


def metrics(successes_N: IntArray, samples: int, k: int, seed: int = 0) -> dict[str, Any]:
    """Mean@k and pass@k over prompts.

    Args:
        successes_N: Right completions of each prompt, shape (N,).
        samples: Completions a prompt, at least k.
        k: Of pass@k (unbiased, arXiv 2107.03374).
        seed: Of the bootstrap.

    Returns:
        `mean@k`, `pass@k`, `ci_pass@k` (95%, bootstrap over prompts), `num_prompts`, `samples`.
    """
    pass_N = passk_unbiased(successes_N, np.full(len(successes_N), samples), k)
    return {
        f"pass@{k}": float(pass_N.mean()),
        f"mean@{k}": float((successes_N / samples).mean()),
        f"ci_pass@{k}": interval(pass_N, seed),
        "num_prompts": len(successes_N),
        "samples": samples,
    }


def by_slice(
    successes_N: IntArray, samples: int, k: int, base_rate_N: FloatArray
) -> list[dict[str, Any]]:
    """Metrics of each slice of base difficulty that has prompts.

    Args:
        successes_N: Right completions of each prompt, shape (N,).
        samples: Completions a prompt.
        k: Of pass@k.
        base_rate_N: Pass rate of the base model on each prompt, shape (N,).

    Returns:
        One record a slice: `name` and the entries of `metrics`.
    """
    masks = [(name, (base_rate_N >= low) & (base_rate_N < high)) for name, low, high in SLICES]
    return [
        {"name": name, **metrics(successes_N[mask], samples, k)} for name, mask in masks if mask.any()
    ]


def by_source(
    successes_N: IntArray, samples: int, k: int, source_N: Sequence[str]
) -> list[dict[str, Any]]:
    """Metrics of each source's prompts.

    Args:
        successes_N: Right completions of each prompt, shape (N,).
        samples: Completions a prompt.
        k: Of pass@k.
        source_N: Shape (N,).

    Returns:
        One record a source, in the order of the prompts: `name` and the entries of `metrics`.
    """
    masks = [(name, np.array([s == name for s in source_N])) for name in dict.fromkeys(source_N)]
    return [{"name": name, **metrics(successes_N[mask], samples, k)} for name, mask in masks]
