"""A tiny random model that speaks tags and digits, in a folder that scripts name as their model."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

TAGS = [f"<{slash}{tag}>" for tag in ("reasoning", "think", "answer") for slash in ("", "/")]
# Whole pieces are words too, so that a random model has some format and some answers right.
PIECES = ["<think>7</think>", "<answer>7</answer>"]
WORDS = ["[unk]", "[end]", "[pad]", *TAGS, *PIECES, *"0123456789", *"+-*/=", "\n", " "]
CHAT = (
    "{% for m in messages %}{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}={% endif %}"
)


def save(folder: Path) -> None:
    """Write model and tokenizer."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[unk]"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"</?\w+>|\d|\s|[A-Za-z]+|."), "isolated")
    core.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[unk]",
        eos_token="[end]",
        pad_token="[pad]",
        padding_side="left",
        chat_template=CHAT,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=2,
        eos_token_id=1,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
