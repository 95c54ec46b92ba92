"""Make the quickstart's warm start: `python studies/make_chains_model.py --out DIR`.

A tiny Qwen3 is trained on worked chains with mistakes. Each of the 600 facts (operation, x, y) has
an accuracy of its own, drawn once; a wrong digit is carried on. The model so learns to be right at
very different rates, as a language model is on real prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from teaching import teach
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from gdro.tasks.chain_rules import CONCENTRATION, MAX_LENGTH, MEAN_ACCURACY, OPERATIONS

# "_" pads, "$" ends. An operation and its operand are one token, so that the operation to apply next
# is always the same number of tokens back: one attention head can learn that.
END, DOT, FIRST_DIGIT, FIRST_STEP = 1, 2, 3, 13
TOKENS = [*"_$.0123456789", *(f"{o}{d}" for o in OPERATIONS for d in range(10))]
WRONG_SHARES = (0.6, 0.25, 0.15)  # how a fact's mistakes fall on three wrong digits
PROMPT = MAX_LENGTH + 1  # tokens of a prompt
WIDTH = PROMPT + MAX_LENGTH + 1  # of prompt, longest answer and end


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of digits, dots, and operations with their operand."""
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(TOKENS)}, unk_token="_"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[+\-*abc][0-9]|."), "isolated")
    core.decoder = decoders.Fuse()  # no spaces between tokens
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="_",
        eos_token="$",
        unk_token="_",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_model(seed: int) -> Qwen3ForCausalLM:
    """A random Qwen3 of about 80,000 parameters."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def make_facts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is said for each fact (operation, x, y).

    Args:
        rng: Source of randomness.

    Returns:
        Four digits, the right one first, and their cumulative probabilities; each (6, 10, 10, 4).
    """
    digits = np.zeros((len(OPERATIONS), 10, 10, 4), np.int64)
    shares = np.zeros(digits.shape)
    for o, (operation, mean) in enumerate(MEAN_ACCURACY.items()):
        for x, y in np.ndindex(10, 10):
            p = rng.beta(mean * CONCENTRATION, (1 - mean) * CONCENTRATION)
            right = OPERATIONS[operation](x, y)
            wrong = (right + rng.choice(np.arange(1, 10), 3, replace=False)) % 10
            digits[o, x, y] = [right, *wrong]
            shares[o, x, y] = [p, *((1 - p) * s for s in WRONG_SHARES)]
    return digits, np.cumsum(shares, axis=-1)


def batch(
    facts: tuple[np.ndarray, np.ndarray], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Worked chains with mistakes carried on.

    Args:
        facts: As from `make_facts`.
        size: Chains.
        rng: Source of randomness.

    Returns:
        Token ids, padded on the right, and labels (answers only, else -100); each (size, WIDTH).
    """
    length = rng.integers(1, MAX_LENGTH + 1, size)
    operation = rng.integers(0, len(OPERATIONS), (size, MAX_LENGTH))
    operand = rng.integers(0, 10, (size, MAX_LENGTH))
    value = rng.integers(0, 10, size)
    ids = np.zeros((size, WIDTH), np.int64)
    labels = np.full((size, WIDTH), -100)
    inside = np.arange(MAX_LENGTH) < length[:, None]
    ids[:, :MAX_LENGTH] = np.where(inside, FIRST_STEP + 10 * operation + operand, DOT)
    ids[:, MAX_LENGTH] = FIRST_DIGIT + value
    for j in range(MAX_LENGTH + 1):
        if j < MAX_LENGTH:
            fact = operation[:, j], value, operand[:, j]
            said = (rng.random(size)[:, None] > facts[1][fact]).sum(axis=1).clip(max=3)
            value = facts[0][fact][np.arange(size), said]
        token = np.where(j < length, FIRST_DIGIT + value, END)
        alive = j <= length
        ids[alive, PROMPT + j] = token[alive]
        labels[alive, PROMPT + j] = token[alive]
    return torch.from_numpy(ids), torch.from_numpy(labels)


def train(seed: int, num_steps: int, size: int = 256, rate: float = 4e-3) -> Qwen3ForCausalLM:
    """Train the warm start.

    Args:
        seed: Seed of the weights, the facts and the chains.
        num_steps: Optimiser steps.
        size: Chains a step.
        rate: Peak learning rate; cosine decay to a twentieth.

    Returns:
        The model.
    """
    rng = np.random.default_rng([seed, 5])
    facts, model = make_facts(rng), make_model(seed)

    def next_loss() -> torch.Tensor:
        ids, labels = batch(facts, size, rng)
        return model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss

    teach(model, next_loss, num_steps, rate)
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed (%(default)s)")
    parser.add_argument("--steps", type=int, default=1200, help="optimiser steps (%(default)s)")
    arguments = parser.parse_args()
    model = train(arguments.seed, arguments.steps)
    model.save_pretrained(arguments.out)
    make_tokenizer().save_pretrained(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
