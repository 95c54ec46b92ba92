"""Held-out evaluation: mean@k and unbiased pass@k with intervals, by slice of base difficulty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gdro.common.progress import bar
from gdro.common.slices import SLICES
from gdro.evaluation.scores import interval
from gdro.evaluation.transformers import encoded, lengths
from gdro.numerics.arrays import BoolArray, FloatArray, IntArray
from gdro.numerics.passk import passk_unbiased


@dataclass(frozen=True)
class Drawn:
    """S completions of each prompt.

    Attributes:
        scores_NSK: What the K reward functions gave, shape (N, S, K).
        tokens_NS: Tokens of each, its end token included, shape (N, S).
    """

    scores_NSK: FloatArray
    tokens_NS: IntArray

    @property
    def right_NS(self) -> BoolArray:
        """Whether the first reward function gave more than .5, shape (N, S)."""
        return self.scores_NSK[..., 0] > 0.5


def draw(
    model: Any,
    tokenizer: Any,
    dataset: Any,
    rewards: Sequence[Callable[..., list[float]]],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 256,
    seed: int = 0,
) -> Drawn:
    """Sample completions of every prompt, and score them.

    Top-p and top-k are off, and the global random generator is left as it was.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer, padding on the left.
        dataset: Rows with `prompt` (text, or a conversation) and the columns that the rewards need.
        rewards: TRL reward functions; a completion is right if the first gives more than .5.
        samples: Completions per prompt.
        max_new_tokens: Longest completion.
        temperature: Sampling temperature.
        batch_size: Completions generated at once.
        seed: Sampling seed.
    """
    rows = [row for row in dataset for _ in range(samples)]
    scores: list[list[float]] = []
    tokens: list[int] = []
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
                do_sample=True,
                temperature=temperature,
                top_p=1.0,
                top_k=0,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
            tail = output[:, inputs["input_ids"].shape[1] :]
            tokens += lengths(model, tail)
            texts = tokenizer.batch_decode(tail, skip_special_tokens=True)
            columns = {k: [r[k] for r in batch] for k in batch[0] if k != "prompt"}
            prompts = [r["prompt"] for r in batch]
            given = [reward(prompts=prompts, completions=texts, **columns) for reward in rewards]
            scores += map(list, zip(*given, strict=True))
    model.train(was_training)
    scores_NSK = np.array(scores, np.float64).reshape(-1, samples, len(rewards))
    return Drawn(scores_NSK, np.array(tokens).reshape(-1, samples))


def metrics(
    successes_N: IntArray, samples: int, k: int, seed: int = 0, also: Sequence[int] = ()
) -> dict[str, Any]:
    """Mean@k and unbiased pass@k (arXiv 2107.03374) over N prompts with as many samples each.

    Returns:
        `mean@k`, `pass@k`, `ci_pass@k` (95%, bootstrap over prompts from a seed), `num_prompts`,
        `samples`, and pass@k of each k in `also`.
    """

    def passes(k: int) -> FloatArray:
        return passk_unbiased(successes_N, np.full(len(successes_N), samples), k)

    return {
        f"pass@{k}": float(passes(k).mean()),
        f"mean@{k}": float((successes_N / samples).mean()),
        f"ci_pass@{k}": interval(passes(k), seed),
        "num_prompts": len(successes_N),
        "samples": samples,
        **{f"pass@{other}": float(passes(other).mean()) for other in also},
    }


def by_slice(
    successes_N: IntArray, samples: int, k: int, base_rate_N: FloatArray, also: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """`metrics` with a `name` for each slice of the base model's pass rates (N,) that has prompts."""
    masks = [(name, (base_rate_N >= low) & (base_rate_N < high)) for name, low, high in SLICES]
    return [
        {"name": name, **metrics(successes_N[mask], samples, k, also=also)}
        for name, mask in masks
        if mask.any()
    ]


def by_source(
    successes_N: IntArray, samples: int, k: int, source_N: Sequence[str], also: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """`metrics` with a `name` for each source, in the order of the prompts."""
    masks = [(name, np.array([s == name for s in source_N])) for name in dict.fromkeys(source_N)]
    return [{"name": name, **metrics(successes_N[mask], samples, k, also=also)} for name, mask in masks]
