"""Tiny random models of a given class, and a byte tokenizer for models without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdro.errors import DryRunError

WIDTH, HEAD = 64, 16
_SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "head_dim": HEAD,
    "num_hidden_layers": 2,
    "max_window_layers": 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": WIDTH // 2,
    "shared_expert_intermediate_size": WIDTH,
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def shrunk(config: Any) -> Any:
    """Change a `transformers.PretrainedConfig` to a tiny model of the same class, and return it.

    Widths, layers and experts shrink; the architecture, the vocabulary, tied embeddings, position
    encoding, and grouped-query attention stay.

    Raises:
        DryRunError: It is not a decoder-only text model.
    """
    if not hasattr(config, "num_attention_heads") or getattr(config, "is_encoder_decoder", False):
        raise DryRunError(
            f"cannot shrink a {type(config).__name__}: the dry run supports decoder-only text models; "
            "pass --stub CLASS to use another class, e.g. --stub qwen3"
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
    """Write a tiny random model and its tokenizer to a folder.

    Args:
        folder: Folder to write.
        path: The user's model: a folder, or its name on the hub.
        stub: Model type to use instead (e.g. `qwen3`), with a byte tokenizer; nothing is downloaded.
        trust: Allow the model's own code, as the user's configuration does.

    Returns:
        The tokenizer, and the name of the model's class.

    Raises:
        DryRunError: The model cannot be loaded or shrunk.
    """
    given = {} if stub is None else {"model_type": stub}
    hint = "pass --stub CLASS, e.g. --stub qwen3"
    config, tokenizer = config_and_tokenizer(path, given, hint, trust)
    return tokenizer, write_tiny(folder, config, tokenizer, trust)


def config_and_tokenizer(
    path: str, architecture: Mapping[str, Any], hint: str, trust: bool = False
) -> tuple[Any, Any]:
    """Configuration and tokenizer of a model.

    Args:
        path: Folder of the model, or its name on the hub.
        architecture: If not empty, the configuration; then the tokenizer is a byte tokenizer, and
            nothing is downloaded.
        hint: Advice for users without a network, for the error message.
        trust: Allow the model's own code.

    Raises:
        DryRunError: They cannot be loaded.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        if architecture:
            return AutoConfig.for_model(**architecture), byte_tokenizer()
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust)
        return config, AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
    except (OSError, ValueError, TypeError) as problem:
        raise DryRunError(
            f"cannot load the configuration and tokenizer of {architecture.get('model_type', path)!r}: "
            f"{str(problem).splitlines()[0]}; without a network {hint}"
        ) from problem


def write_tiny(folder: Path, config: Any, tokenizer: Any, trust: bool = False) -> str:
    """Write a tiny random model of a configuration's class, which is changed, and its tokenizer.

    The model gets the tokenizer's special tokens, and from a byte tokenizer also the vocabulary. Returns
    the name of the model's class.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = shrunk(config)
    if tokenizer.chat_template == CHATML:
        config.vocab_size = len(tokenizer)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=trust)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return type(model).__name__


def byte_tokenizer() -> Any:
    """A byte tokenizer with ChatML's special tokens, which can encode any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHATML
    return tokenizer
