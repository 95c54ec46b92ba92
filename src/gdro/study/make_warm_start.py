"""Make a testbed's warm start: `python -m gdro.study.make_warm_start --task chains --out FILE`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from gdro.study.decoder import PAD, Decoder, Shape, save
from gdro.study.testbed import Testbed, load_testbed


def shape_of(testbed: Testbed, width: int = 48) -> Shape:
    """The decoder's sizes for a testbed."""
    return Shape(2 + len(testbed.tokens), testbed.prompt_tokens, testbed.answer_tokens + 1, width)


def train(testbed: Testbed, seed: int, num_steps: int, size: int = 256, rate: float = 4e-3) -> Decoder:
    """Train a decoder on worked answers with mistakes.

    Args:
        testbed: The task.
        seed: Of weights, facts and examples.
        num_steps: Optimiser steps.
        size: Examples a step.
        rate: Peak learning rate; cosine decay to a twentieth.

    Returns:
        The model.
    """
    rng = np.random.default_rng([seed, 7])
    facts = testbed.facts(rng)
    torch.manual_seed(seed)
    model = Decoder(shape_of(testbed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in (bar := tqdm(range(num_steps), desc="warm start")):
        items = [testbed.draw(rng) for _ in range(size)]
        answers = [testbed.worked(item, facts, rng) for item in items]
        prompt = testbed.encode([i.prompt for i in items], model.shape.prompt, left=True)
        answer = testbed.encode(answers, model.shape.answer, left=False)
        tokens = torch.from_numpy(np.concatenate([prompt, answer], axis=1))
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * decay
        logits = model(tokens[:, :-1], model.shape.prompt - 1).flatten(0, 1)
        loss = F.cross_entropy(logits, torch.from_numpy(answer).flatten(), ignore_index=PAD)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", required=True, help="chains, arithmetic, strings, or module:Class")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")
    parser.add_argument("--seed", type=int, default=0, help="seed (%(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="optimiser steps (%(default)s)")
    arguments = parser.parse_args()
    save(train(load_testbed(arguments.task), arguments.seed, arguments.steps), arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
