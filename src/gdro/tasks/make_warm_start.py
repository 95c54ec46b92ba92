"""Make the quickstart's warm start: `python -m gdro.tasks.make_warm_start --out DIR`.

A tiny Qwen3 is trained on worked chains with mistakes. Each of the 600 facts (operation, x, y) has
an accuracy of its own, drawn once; a wrong digit is carried on. The model so learns to be right at
very different rates, as a language model is on real prompts.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from gdro.tasks.chains import MAX_LENGTH, OPERATIONS, draw_prompt

CHARACTERS = "_$0123456789=+-*abc"  # "_" pads, "$" ends
MEAN_ACCURACY = {"+": 0.97, "-": 0.93, "*": 0.8, "a": 0.65, "b": 0.5, "c": 0.4}
CONCENTRATION = 3.0  # of the Beta that facts' accuracies are drawn from: low, so many extremes
WRONG_SHARES = (0.6, 0.25, 0.15)  # how a fact's mistakes fall on three wrong digits
WIDTH = 2 * MAX_LENGTH + 2 + MAX_LENGTH + 1  # longest prompt, answer and end

Facts = dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray]]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single characters."""
    core = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="_"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = None
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="_", eos_token="$", unk_token="_", padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_model(seed: int) -> Qwen3ForCausalLM:
    """A random Qwen3 of about 80,000 parameters."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(CHARACTERS), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
        tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def make_facts(rng: np.random.Generator) -> Facts:
    """For each fact the digits that are said and their probabilities, the right one first."""
    facts: Facts = {}
    for operation, mean in MEAN_ACCURACY.items():
        for x in range(10):
            for y in range(10):
                p = rng.beta(mean * CONCENTRATION, (1 - mean) * CONCENTRATION)
                right = OPERATIONS[operation](x, y)
                wrong = (right + rng.choice(np.arange(1, 10), 3, replace=False)) % 10
                shares = np.array([p, *((1 - p) * s for s in WRONG_SHARES)])
                facts[operation, x, y] = np.array([right, *wrong]), shares
    return facts


def noisy_answer(prompt: str, facts: Facts, rng: np.random.Generator) -> str:
    """Work a chain out with the facts' accuracies, carrying mistakes on."""
    value, answer = int(prompt[0]), ""
    for i in range(1, len(prompt) - 1, 2):
        digits, shares = facts[prompt[i], value, int(prompt[i + 1])]
        value = int(digits[np.searchsorted(np.cumsum(shares), rng.random() * shares.sum())])
        answer += str(value)
    return answer


def batch(facts: Facts, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, padded on the left, and labels of the answers only; each (size, WIDTH)."""
    ids = np.zeros((size, WIDTH), np.int64)
    labels = np.full((size, WIDTH), -100)
    for row in range(size):
        prompt = draw_prompt(rng, int(rng.integers(1, MAX_LENGTH + 1)))
        answer = noisy_answer(prompt, facts, rng) + "$"
        code = [CHARACTERS.index(c) for c in prompt + answer]
        ids[row, WIDTH - len(code) :] = code
        labels[row, WIDTH - len(answer) :] = code[len(prompt) :]
    return torch.from_numpy(ids), torch.from_numpy(labels)


def train(seed: int, steps: int, size: int = 256, rate: float = 4e-3) -> Qwen3ForCausalLM:
    """Train the warm start.

    Args:
        seed: Of weights, facts and chains.
        steps: Optimiser steps.
        size: Chains a step.
        rate: Peak learning rate; cosine decay to a twentieth.

    Returns:
        The model.
    """
    rng = np.random.default_rng([seed, 5])
    facts, model = make_facts(rng), make_model(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in (bar := tqdm(range(steps), desc="warm start")):
        ids, labels = batch(facts, size, rng)
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * decay
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
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
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed (%(default)s)")
    parser.add_argument("--steps", type=int, default=2500, help="optimiser steps (%(default)s)")
    arguments = parser.parse_args()
    model = train(arguments.seed, arguments.steps)
    model.save_pretrained(arguments.out)
    make_tokenizer().save_pretrained(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
