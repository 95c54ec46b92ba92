"""Estimates of a run's cost from its recipe alone: rollouts, tokens and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gdro.recipes.schema import Recipe

GIB = 2**30
_FLOAT32, _HALF = 4, 2
# Bytes of 16-bit activations for each layer, token and unit of width, without checkpointing and with
# attention of linear memory (arXiv 2205.05198, section 4.1).
_ACTIVATIONS = 34


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model.

    Attributes:
        parameters: Number of parameters; tied ones count once.
        layers: Number of layers.
        width: Length of a token's hidden state.
        vocabulary: Number of tokens in the vocabulary.
        cache: Bytes of keys and values for one token, in 16 bits.
        kind: Name of the model's class.
    """

    parameters: int
    layers: int
    width: int
    vocabulary: int
    cache: int
    kind: str


def sizes_of(config: Any) -> ModelSizes:
    """Sizes of the model of a configuration, without its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = config.num_hidden_layers
    return ModelSizes(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=layers,
        width=config.hidden_size,
        vocabulary=config.vocab_size,
        cache=2 * layers * heads * size * _HALF,
        kind=type(model).__name__,
    )


def estimate(recipe: Recipe, args: Any, sizes: ModelSizes) -> list[tuple[str, str]]:
    """The cost of a recipe's run, as lines of a table: what, and how much."""
    return [
        ("model", f"{sizes.kind}, {sizes.parameters:,} parameters"),
        *_generated(recipe, args),
        *_memory(recipe, args, sizes),
    ]


def _generated(recipe: Recipe, args: Any) -> list[tuple[str, str]]:
    rows, answer, arms = args.generation_batch_size, args.max_completion_length, len(recipe.arms)
    prompts = rows // args.num_generations
    batch = f"{prompts:,} prompts x {args.num_generations}"
    if args.max_steps <= 0:
        return [("rollouts a step", f"{rows:,} ({batch}); trl.max_steps is not set, so no total")]
    updates = args.steps_per_generation // args.gradient_accumulation_steps * args.num_iterations
    steps = -(-args.max_steps // updates)
    total = steps * rows
    mean = f"{total * 1000:.2e} for each 1,000 tokens of the mean answer"
    each = "" if arms == 1 else f" an arm, {arms} arms"
    evaluated = recipe.evaluation
    samples = evaluated.base_samples + arms * evaluated.samples
    held = f"{samples} a held-out prompt" if evaluated.samples else "none: gdro eval takes the model"
    return [
        ("rollouts", f"{total:,}{each} ({steps:,} steps of {batch})"),
        ("optimiser steps", f"{args.max_steps:,}{each}"),
        ("tokens generated", f"at most {total * answer:.2e}{each} ({answer:,} an answer); {mean}"),
        ("tokens trained on", f"the same x {args.num_iterations}, and the prompts'"),
        ("evaluation rollouts", held),
    ]


def _memory(recipe: Recipe, args: Any, sizes: ModelSizes) -> list[tuple[str, str]]:
    size = _HALF if "16" in str(recipe.task_options.get("dtype", "float32")) else _FLOAT32
    state = {"weights": size, "gradients": size, "AdamW": 2 * size}
    if args.beta:
        state["reference"] = _FLOAT32
    parts = ", ".join(f"{name} {_gib(sizes.parameters * each)}" for name, each in state.items())
    total = sizes.parameters * sum(state.values())
    rows, answer = args.per_device_train_batch_size, args.max_completion_length
    # Logits, their softmax, and their gradient.
    logits = 3 * rows * answer * sizes.vocabulary * _FLOAT32
    stored = _HALF if args.gradient_checkpointing else _ACTIVATIONS
    activations = rows * answer * sizes.width * sizes.layers * stored
    cache = _gib(sizes.cache * answer * args.generation_batch_size)
    cache = f"{sizes.cache / 2**20:.2f} MiB of cache a token; {cache} for all rollouts of a step at once"
    return [
        ("memory, model state", f"{_gib(total)} in all ({parts}); whole on each device, unless sharded"),
        ("memory, logits", f"at most {_gib(logits)} for {rows} rows of {answer:,} tokens"),
        ("memory, activations", f"about {_gib(activations)} for as many"),
        ("memory, generation", cache),
    ]


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB"
