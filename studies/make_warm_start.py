"""Make a testbed's warm start: `python studies/make_warm_start.py --task chains --out FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from teaching import teach

from gdro.study.decoder import Decoder, Shape, save
from gdro.study.testbed import PAD, Testbed, load_testbed


def shape_of(testbed: Testbed, width: int = 48) -> Shape:
    """The decoder's sizes for a testbed."""
    return Shape(2 + len(testbed.tokens), testbed.prompt_tokens, testbed.answer_tokens + 1, width)


def train(testbed: Testbed, seed: int, num_steps: int, size: int = 256, rate: float = 4e-3) -> Decoder:
    """Train a decoder on worked answers with mistakes.

    Args:
        testbed: The task.
        seed: Seed of the weights, the facts and the examples.
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

    def next_loss() -> torch.Tensor:
        items = [testbed.draw(rng) for _ in range(size)]
        answers = [testbed.worked(item, facts, rng) for item in items]
        prompt = testbed.encode([i.prompt for i in items], model.shape.prompt, left=True)
        answer = testbed.encode(answers, model.shape.answer, left=False)
        tokens = torch.from_numpy(np.concatenate([prompt, answer], axis=1))
        logits = model(tokens[:, :-1], model.shape.prompt - 1).flatten(0, 1)
        return F.cross_entropy(logits, torch.from_numpy(answer).flatten(), ignore_index=PAD)

    teach(model, next_loss, num_steps, rate)
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
