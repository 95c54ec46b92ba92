"""A tiny random Qwen3 and a toy task, small enough to train for real in a test."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

ALPHABET = "_$0123456789=+ab"


def tokenizer() -> PreTrainedTokenizerFast:
    vocab = {c: i for i, c in enumerate(ALPHABET)}
    core = Tokenizer(models.WordLevel(vocab, unk_token="_"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    chat = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="_",
        eos_token="$",
        unk_token="_",
        padding_side="left",
        chat_template=chat,
        model_input_names=["input_ids", "attention_mask"],
    )


def model(seed: int = 0, **changes: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = {
        "vocab_size": len(ALPHABET),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }
    return Qwen3ForCausalLM(Qwen3Config(**(config | changes)))


def dataset(num: int = 24, conversational: bool = False) -> Dataset:
    prompts: list[Any] = [f"{i // 10}{i % 10}+a=" for i in range(num)]
    if conversational:
        prompts = [[{"role": "user", "content": p}] for p in prompts]
    return Dataset.from_dict(
        {
            "prompt": prompts,
            "answer": [str(i) for i in range(num)],
            "id": [f"p{i}" for i in range(num)],
            "difficulty": [float(i) for i in range(num)],
            "parity": ["odd" if i % 2 else "even" for i in range(num)],
        }
    )


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]


def lucky(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Right when the text has a digit of the prompt's own parity: rates differ by prompt."""
    wanted = ["02468" if int(a) % 2 else "1" for a in answer]
    return [float(any(d in _text(c) for d in w)) for c, w in zip(completions, wanted, strict=True)]


def length(completions: list[Any], **_: Any) -> list[float]:
    return [len(_text(c)) / 7.0 for c in completions]


def picky(completions: list[Any], answer: list[str], **_: Any) -> list[float | None]:
    """Gives no reward at all to every third prompt."""
    scores = lucky(completions, answer)
    return [None if int(a) % 3 == 0 else s for a, s in zip(answer, scores, strict=True)]


def options(**changes: Any) -> dict[str, Any]:
    """Of a config of any of TRL's trainers."""
    base = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 4,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "seed": 3,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    return base | changes


def config(**changes: Any) -> GRPOConfig:
    return GRPOConfig(**options(**changes))


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def weights_of(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])
