"""Sampling in which an answer depends on its seed, step, prompt and number, but not on its batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


@dataclass(frozen=True)
class Draw:
    """One answer to sample: its prompt, and what its random numbers depend on."""

    prompt: tuple[int, ...]
    seed: int
    step: int
    number: int

    def generator(self) -> torch.Generator:
        """The answer's own random generator."""
        digest = hashlib.sha256(repr((self.seed, self.step, self.number, self.prompt)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Share of the probability to draw from; 1: all.
        top_k: Number of tokens to draw from; 0 or below: all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def processors(self, draws: Sequence[Draw]) -> LogitsProcessorList:
        """Processors of logits, after which the largest logit is the sample."""
        if self.temperature <= 0:
            return LogitsProcessorList()
        warpers: list[LogitsProcessor] = [TemperatureLogitsWarper(self.temperature)]
        if self.top_k > 0:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        return LogitsProcessorList([*warpers, _Gumbel(draws)])


class _Gumbel(LogitsProcessor):
    """Adds Gumbel noise, so that the largest logit is a sample at temperature one (Gumbel 1954)."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._generators = [draw.generator() for draw in draws]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        uniform = torch.stack([torch.rand(scores.shape[1], generator=g) for g in self._generators])
        noise = -(-uniform.clamp(1e-20, 1.0 - 1e-7).log()).log()
        return scores + noise


@torch.no_grad()
def sample(
    model: Any, draws: Sequence[Draw], limit: int, sampling: Sampling, ends: Sequence[int], pad: int
) -> list[tuple[list[int], list[float]]]:
    """Answers and the log-probabilities of their tokens, in the order of `draws`.

    Log-probabilities are of the model at the temperature, before top-p and top-k. Answers have at most
    `limit` tokens, and include the one of `ends` that ends them.
    """
    width = max(len(draw.prompt) for draw in draws)
    ids = torch.full((len(draws), width), pad)
    seen = torch.zeros_like(ids)
    for row, draw in enumerate(draws):
        ids[row, width - len(draw.prompt) :] = torch.tensor(draw.prompt)
        seen[row, width - len(draw.prompt) :] = 1
    out = model.generate(
        input_ids=ids,
        attention_mask=seen,
        max_new_tokens=limit,
        do_sample=False,
        pad_token_id=pad,
        eos_token_id=list(ends),
        logits_processor=sampling.processors(draws),
        return_dict_in_generate=True,
        output_logits=True,
    )
    answers = out.sequences[:, width:]
    logits = torch.stack(out.logits, 1).float() / (sampling.temperature or 1.0)
    logp = logits.log_softmax(-1).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
    results = []
    for row, tokens in enumerate(answers.tolist()):
        length = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
        results.append((tokens[:length], logp[row, :length].tolist()))
    return results
