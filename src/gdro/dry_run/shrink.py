"""A tiny random model of the same class, and a tokenizer for where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gdro.errors import GdroError

WIDTH, HEAD = 64, 16
_SMALL = {
    "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "head_dim": HEAD, "num_hidden_layers": 2,
    "max_window_layers": 2, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH // 2,
    "shared_expert_intermediate_size": WIDTH,
}  # fmt: skip
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class DryRunError(GdroError):
    """A configuration that the dry run cannot take, or a dry run that failed."""


def shrunk(config: Any) -> Any:
    """The configuration of a tiny model of the same class.

    Widths, layers and experts shrink; the architecture, the vocabulary, tied embeddings, position
    encoding, and whether keys and values are shared by heads stay.

    Args:
        config: Of the real model, a `transformers.PretrainedConfig`.

    Returns:
        The same object, changed.

    Raises:
        DryRunError: It is no decoder-only text model.
    """
    if not hasattr(config, "num_attention_heads") or getattr(config, "is_encoder_decoder", False):
        raise DryRunError(
            f"cannot shrink a {type(config).__name__}: the dry run knows decoder-only text models; "
            "pass --stub CLASS to take another class, e.g. --stub qwen3"
        )
    heads, shared = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
    layers = getattr(config, "layer_types", None)
    for name, value in _SMALL.items():
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, min(getattr(config, name), value))
    config.num_attention_heads = WIDTH // HEAD
    if shared is not None:
        config.num_key_value_heads = config.num_attention_heads // (1 if shared == heads else 2)
    if layers is not None:
        config.layer_types = layers[: config.num_hidden_layers]
    config.dtype = "float32"
    return config


def save_tiny(folder: Path, path: str, stub: str | None, trust: bool) -> tuple[Any, str]:
    """Write a tiny random model and the tokenizer beside it.

    Args:
        folder: Where to.
        path: The user's model: a folder, or its name on the hub.
        stub: Take the class of this model type instead (e.g. `qwen3`), and a tokenizer of bytes:
            nothing is downloaded.
        trust: Allow the model's own code, as the user's configuration does.

    Returns:
        The tokenizer, and the name of the model's class.

    Raises:
        DryRunError: The model is not to be had, or cannot be shrunk.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        if stub is not None:
            config, tokenizer = AutoConfig.for_model(stub), byte_tokenizer()
            config.vocab_size = len(tokenizer)
        else:
            config = AutoConfig.from_pretrained(path, trust_remote_code=trust)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
    except (OSError, ValueError) as problem:
        raise DryRunError(
            f"cannot load the configuration and tokenizer of {stub or path!r}: "
            f"{str(problem).splitlines()[0]}; without a network pass --stub CLASS, e.g. --stub qwen3"
        ) from problem
    config = shrunk(config)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer, type(model).__name__


def byte_tokenizer() -> Any:
    """A tokenizer of bytes with ChatML's special tokens; it reads any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer
