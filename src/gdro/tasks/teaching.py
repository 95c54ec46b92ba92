"""Supervised fine-tuning of a language model on prompts and completions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gdro.common.progress import bar


@dataclass(frozen=True)
class Lesson:
    """Options of fine-tuning.

    Attributes:
        epochs: Passes over the texts.
        rows: Texts per step.
        rate: Peak learning rate, reached after 20 steps; it then decays linearly to zero.
        seed: Seed of the order of texts.
        steps: Most optimiser steps; None: as many as the epochs take.
    """

    epochs: float = 3.0
    rows: int = 64
    rate: float = 4e-4
    seed: int = 0
    steps: int | None = None


def teach_texts(
    model: Any, tokenizer: Any, texts: Sequence[tuple[str, str]], lesson: Lesson
) -> list[float]:
    """Fine-tune a float32 model in place on pairs of prompt and completion, on GPUs under bfloat16.

    Only the completion and an end token are learnt.

    Returns:
        The loss of every twentieth step and of the last one.
    """
    device = next(model.parameters()).device
    prompts, answers = (tokenizer([text[i] for text in texts])["input_ids"] for i in (0, 1))
    pairs = [(p, [*a, tokenizer.eos_token_id]) for p, a in zip(prompts, answers, strict=True)]
    wanted = int(lesson.epochs * len(pairs) / lesson.rows)
    steps = max(1, wanted if lesson.steps is None else min(wanted, lesson.steps))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=lesson.rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    losses: list[float] = []
    model.train()
    batches = _batches(len(pairs), lesson)
    for step in bar(range(steps), desc="fine-tuning"):
        for group in optimiser.param_groups:
            group["lr"] = lesson.rate * min(1.0, (step + 1) / 20) * (1 - step / steps)
        batch = _padded([pairs[i] for i in next(batches)], tokenizer.pad_token_id, device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == steps - 1:
            losses.append(round(loss.item(), 4))
    model.eval()
    return losses


def _batches(num: int, lesson: Lesson) -> Iterator[list[int]]:
    """Batches of indices of texts, shuffled anew in each epoch."""
    order, rng = [], random.Random(lesson.seed)
    while True:
        while len(order) < lesson.rows:
            order += rng.sample(range(num), num)
        yield order[: lesson.rows]
        del order[: lesson.rows]


def _padded(
    pairs: Sequence[tuple[list[int], list[int]]], pad_id: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Token ids, mask and labels, padded on the right."""
    width = max(len(p) + len(a) for p, a in pairs)
    ids = torch.full((len(pairs), width), pad_id)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end], mask[row, :end] = torch.tensor(prompt + answer), 1
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}
