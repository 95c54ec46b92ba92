"""A tiny vision-language model with patch-level pixels, made from a config, and questions on colours."""

from __future__ import annotations

from typing import Any

import tiny
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

from gdro.integrations.trl import GDROTrainer

LETTERS = [*tiny.ALPHABET, "?"]
SPECIAL = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
TEMPLATE = """{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}\
{% for part in m.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% for c in m.tool_calls or [] %}\
{{ c.function.name }}{{ c.function.arguments }}{% endfor %}{% if m.role == 'assistant' %}$\
{% endif %}{% endfor %}{% if add_generation_prompt %}?{% endif %}"""
# Every digit is a call, so that a model that was taught nothing calls often.
CALL = {
    "defaults": {"role": "assistant"},
    "start_anchor": "?",
    "fields": {
        "tool_calls": {
            "open_pattern": r"(?P<number>\d)",
            "close_pattern": r"\$|$",
            "content": "text",
            "repeats": True,
            "transform": {
                "type": "function",
                "function": {"name": "show", "arguments": {"number": "{number}"}},
            },
        },
        "content": {"close_pattern": r"\$|$", "content": "text"},
    },
}
COLOURS = {"a": (250, 10, 10), "b": (10, 10, 250)}


class ImagesAlone(Qwen2VLProcessor):
    """Qwen's processor without the part for videos, which needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None):
        self.image_token, self.video_token = SPECIAL[:2]
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids(SPECIAL[:2])
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def processor() -> ImagesAlone:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (  # not in old versions
        Qwen2VLImageProcessorPil,
    )

    vocab = {c: i for i, c in enumerate(LETTERS + SPECIAL)}
    core = Tokenizer(models.WordLevel(vocab, unk_token="_"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="_",
        eos_token="$",
        unk_token="_",
        padding_side="left",
        additional_special_tokens=SPECIAL,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.response_template = CALL
    sizes = {"patch_size": 2, "temporal_patch_size": 2, "merge_size": 2}
    images = Qwen2VLImageProcessorPil(min_pixels=16, max_pixels=256, **sizes)
    return ImagesAlone(images, tokenizer, TEMPLATE)


def model() -> Qwen2VLForConditionalGeneration:
    torch.manual_seed(0)
    ids = dict(zip(("image", "video", "vision_start", "vision_end"), range(17, 21), strict=True))
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(LETTERS + SPECIAL),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 128,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": None,
        },
        vision_config={
            "depth": 1,
            "embed_dim": 8,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 2,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        **{f"{name}_token_id": id for name, id in ids.items()},
        tie_word_embeddings=True,
    )
    made = Qwen2VLForConditionalGeneration(config)
    made.generation_config.eos_token_id = 1
    return made


def picture(number: int) -> Any:
    """A picture of one colour; its size, and so the number of its patches, differs."""
    colour = COLOURS["ab"[number % 2]]
    return Pictures.new("RGB", (4 + 4 * (number % 3), 4), tuple(c + number % 5 for c in colour))


def dataset(num: int = 24, column: str = "image") -> Dataset:
    """Rows with one picture (`image`), one or two (`images`), one inside the `prompt`, or `none`."""
    rows: list[dict[str, Any]] = []
    for i in range(num):
        pictures = {"image": picture(i), "images": [picture(i)] * (1 + i % 2)}
        parts = [{"type": "image", "image": picture(i)}, {"type": "text", "text": f"{i}?"}]
        content = parts if column == "prompt" else f"{i}?"
        row = {"prompt": [{"role": "user", "content": content}], "answer": "ab"[i % 2], "id": f"p{i}"}
        rows.append(row | {name: value for name, value in pictures.items() if name == column})
    text = Value("string")
    part = {"type": text, "image": Image(), "text": text}
    message = {"role": text, "content": [part] if column == "prompt" else text}
    kinds = {"image": Image(), "images": [Image()]}
    own = {name: kind for name, kind in kinds.items() if name == column}
    features = {"prompt": [message], "answer": text, "id": text, **own}
    return Dataset.from_list(rows, features=Features(features))


SHOWING: dict[str, Any] = {
    "max_completion_length": 14,
    "generation_kwargs": {"suppress_tokens": [17, 18, 19, 20]},  # only pictures have these
}


def show(number: int) -> list[dict[str, Any]]:
    """Shows a picture.

    Args:
        number: Its number.

    Returns:
        The picture.
    """
    return [{"type": "image", "image": picture(int(number))}]


def named(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Right when the text has the letter of the colour."""
    return [float(a in c[-1]["content"]) for c, a in zip(completions, answer, strict=True)]


def make(cls: type = GDROTrainer, **options: Any) -> Any:
    arguments = {"model": model, "processing_class": processor, "train_dataset": dataset}
    given = {name: options.pop(name, value) for name, value in arguments.items()}
    names = ("strategy", "id_column", "generation", "tools")
    own = {name: options.pop(name) for name in names if name in options}
    options.pop("kind", None)
    return cls(
        args=tiny.config(**options),
        reward_funcs=[named],
        **{name: value() if callable(value) else value for name, value in given.items()},
        **own,
    )
