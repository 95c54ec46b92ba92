"""Configurations of GRPOTrainer in which `uniform` must train the same weights, bit for bit.

Two steps of the smallest model, so that all of them together take about a minute.
"""

from __future__ import annotations

from typing import Any

import agents
import pictures
import tiny
import torch
from datasets import concatenate_datasets
from fake_vllm import model as scaled
from peft import LoraConfig
from transformers import (
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

Options = dict[str, Any]
LORA = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
SIZE = {
    "vocab_size": len(tiny.ALPHABET),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def untied() -> Any:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SIZE, tie_word_embeddings=False))


def dropping() -> Any:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SIZE, tie_word_embeddings=True, attention_dropout=0.5))


def experts() -> Any:
    torch.manual_seed(0)
    routed = {"moe_intermediate_size": 16, "num_experts": 2, "num_experts_per_tok": 1}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZE, **routed))


def judge() -> Any:
    torch.manual_seed(5)
    return Qwen3ForSequenceClassification(Qwen3Config(**SIZE, num_labels=1))


async def later(completions: list[Any], **_: Any) -> list[float]:
    return tiny.length(completions)


def tensors(completions: list[Any], answer: list[str], **_: Any) -> torch.Tensor:
    return torch.tensor(tiny.lucky(completions, answer))


def odd(completions: list[Any], answer: list[str], parity: list[str], **_: Any) -> list[float | None]:
    scores = tiny.lucky(completions, answer)
    return [s if p == "odd" else None for s, p in zip(scores, parity, strict=True)]


def even(completions: list[Any], parity: list[str], **_: Any) -> list[float | None]:
    scores = tiny.length(completions)
    return [s if p == "even" else None for s, p in zip(scores, parity, strict=True)]


def repeated() -> Any:
    """Every prompt twice, with the same answer."""
    return concatenate_datasets([tiny.dataset(12), tiny.dataset(12)])


def system() -> Any:
    """Chat columns with a system prompt."""
    return tiny.dataset(conversational=True).map(
        lambda row: {"prompt": [{"role": "system", "content": "1+"}, *row["prompt"]]}
    )


LOSSES: dict[str, Options] = {
    name: {"loss_type": name}
    for name in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo")
} | {
    "sequence ratios": {"importance_sampling_level": "sequence", "num_iterations": 2},
    "luspo by sequence": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "clipping": {"epsilon": 0.01, "epsilon_high": 0.02, "delta": 1.5, "num_iterations": 2},
    "cispo with iterations": {"loss_type": "cispo", "epsilon_high": 0.5, "num_iterations": 2},
    "entropy quantile": {"top_entropy_quantile": 0.5},
    "entropy bonus": {"entropy_coef": 0.1},
    "adaptive entropy": {"use_adaptive_entropy": True, "max_steps": 3},
    "off-policy mask": {"off_policy_mask_threshold": 0.01, "num_iterations": 2},
    "truncated masked": {"mask_truncated_completions": True},
    "beta": {"beta": 0.1},
    "beta, bias corrected": {"beta": 0.1, "use_bias_correction_kl": True, "num_iterations": 2},
    "reference follows": {
        "beta": 0.1,
        "sync_ref_model": True,
        "ref_model_sync_steps": 1,
        "max_steps": 3,
    },
    "beta with LoRA": {"beta": 0.1, "peft_config": LORA},
}
REWARDS: dict[str, Options] = {
    "scale batch": {"scale_rewards": "batch"},
    "scale none": {"scale_rewards": "none"},
    "two rewards": {"reward_funcs": [tiny.lucky, tiny.length]},
    "weighted": {"reward_funcs": [tiny.lucky, tiny.length], "reward_weights": [1.0, 0.25]},
    "normalize then sum": {
        "reward_funcs": [tiny.lucky, tiny.length],
        "multi_objective_aggregation": "normalize_then_sum",
    },
    "batch scale of two": {"reward_funcs": [tiny.lucky, tiny.length], "scale_rewards": "batch"},
    "missing rewards": {"reward_funcs": [tiny.picky]},
    "missing, normalized": {
        "reward_funcs": [tiny.picky, tiny.length],
        "multi_objective_aggregation": "normalize_then_sum",
    },
    "several tasks": {"reward_funcs": [odd, even]},
    "asynchronous": {"reward_funcs": [tiny.lucky, later]},
    "tensors": {"reward_funcs": [tensors]},
    "a model as reward": {"reward_funcs": [judge]},
}
BATCHES: dict[str, Options] = {
    "default": {},
    "accumulation": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "four micro-batches": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
    "iterations": {"num_iterations": 2},
    "three iterations, cut off": {"num_iterations": 3, "max_steps": 4},
    "steps a generation": {"steps_per_generation": 2, "per_device_train_batch_size": 8},
    "generation batch": {"generation_batch_size": 32, "max_steps": 3},
    "all at once": {
        "steps_per_generation": 4,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_iterations": 2,
        "max_steps": 4,
    },
    "two generations": {"num_generations": 2},
    "eight generations": {"num_generations": 8},
    "one group": {"num_generations": 16},
    "data in order": {"shuffle_dataset": False},
    "an epoch": {"num_train_epochs": 1, "max_steps": -1, "data": lambda: tiny.dataset(11)},
    "another seed": {"seed": 11, "data_seed": 5},
    "repeated prompts": {"data": repeated},
    "chat": {"data": lambda: tiny.dataset(conversational=True)},
    "chat with a system prompt": {"data": system},
    "template arguments": {"data": system, "chat_template_kwargs": {"enable_thinking": False}},
}
SAMPLING: dict[str, Options] = {
    "temperature": {"temperature": 0.7},
    "top p": {"top_p": 0.95, "top_k": 12, "max_steps": 4},
    "min p": {"min_p": 0.1},
    "repetition penalty": {"repetition_penalty": 1.2},
    "generation arguments": {"generation_kwargs": {"no_repeat_ngram_size": 2}},
    "one token": {"max_completion_length": 1},
    "long answers": {"max_completion_length": 12},
    "padded to eight": {"pad_to_multiple_of": 8},
    "continuous batching": {
        "use_transformers_continuous_batching": True,
        # Otherwise its cache fills half of the memory.
        "transformers_continuous_batching_config": {"num_blocks": 16, "max_batch_tokens": 256},
    },
}
VLLM: dict[str, Options] = {
    f"vLLM {mode}, {level}": {
        "use_vllm": True,
        "vllm_mode": mode,
        "vllm_importance_sampling_mode": level,
        "model": scaled,
    }
    for mode, level in (
        ("server", "sequence_mask"),
        ("colocate", "token_truncate"),
        ("server", "token_mask"),
        ("colocate", "sequence_truncate"),
    )
} | {
    "vLLM, uncorrected": {
        "use_vllm": True,
        "vllm_importance_sampling_correction": False,
        "model": scaled,
    },
    "vLLM, vespo": {
        "use_vllm": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "loss_type": "vespo",
        "model": scaled,
    },
}
MODELS: dict[str, Options] = {
    "LoRA": {"peft_config": LORA},
    "LoRA with iterations": {"peft_config": LORA, "num_iterations": 2},
    "experts": {"model": experts},
    "experts, balanced": {"model": experts, "router_aux_loss_coef": 0.01},
    "head in float32": {"model": untied, "cast_lm_head_to_fp32": True},
    "dropout": {"model": dropping},
    "dropout off": {"model": dropping, "disable_dropout": True},
    "checkpointing": {"gradient_checkpointing": True},
    "bfloat16": {"bf16": True},
}
LOOP: dict[str, Options] = {
    "sgd": {"optim": "sgd"},
    "constant rate": {"lr_scheduler_type": "constant", "max_grad_norm": 0.1, "weight_decay": 0.1},
    "evaluated": {"eval_strategy": "steps", "eval_steps": 1, "num_generations_eval": 2},
    "evaluated at the start": {"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True},
    "completions logged": {"log_completions": True, "num_completions_to_print": 1},
    "saved": {"save_strategy": "steps", "save_steps": 1},
}
AGENTS: dict[str, Options] = {
    "tools": {"kind": "tools"},
    "tools, iterations": {"kind": "tools", "num_iterations": 2, "loss_type": "grpo"},
    "tools, four micro-batches": {
        "kind": "tools",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
    },
    "tools, truncated masked": {"kind": "tools", "mask_truncated_completions": True},
    "tools, one call": {"kind": "tools", "max_tool_calling_iterations": 1, "loss_type": "vespo"},
    "tools, entropy quantile": {"kind": "tools", "top_entropy_quantile": 0.5, "pad_to_multiple_of": 8},
    "tools, completions logged": {"kind": "tools", "log_completions": True},
    "asynchronous tools": {"kind": "tools", "tools": [agents.add_later]},
    "tools, vLLM server": {"kind": "tools", "use_vllm": True, "vllm_mode": "server"},
    "tools, vLLM colocate": {
        "kind": "tools",
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_importance_sampling_mode": "token_truncate",
    },
    "environment": {"kind": "environment"},
    "environment and a reward": {
        "kind": "environment",
        "reward_funcs": [agents.calls],
        "reward_weights": [0.1],
    },
    "environment, evaluated": {
        "kind": "environment",
        "eval_dataset": agents.seeds(4),
        "eval_strategy": "steps",
        "eval_steps": 1,
    },
    "environment, vLLM server": {"kind": "environment", "use_vllm": True, "vllm_mode": "server"},
    "two environments": {"kind": "two environments"},
    "two environments, normalized": {
        "kind": "two environments",
        "multi_objective_aggregation": "normalize_then_sum",
    },
    "rollout function": {"kind": "rollout function"},
    "rollout function, off-policy mask": {
        "kind": "rollout function",
        "off_policy_mask_threshold": 0.01,
        "num_iterations": 2,
    },
    "rollout function, evaluated": {
        "kind": "rollout function",
        "eval_dataset": tiny.dataset(4),
        "eval_strategy": "steps",
        "eval_steps": 1,
    },
}
IMAGES: dict[str, Options] = {
    "images": {},
    "images, two a row": {"train_dataset": lambda: pictures.dataset(column="images")},
    "images, in prompts": {"train_dataset": lambda: pictures.dataset(column="prompt")},
    "images, four micro-batches": {
        "train_dataset": lambda: pictures.dataset(column="images"),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "num_iterations": 2,
    },
    "images from tools": {
        "train_dataset": lambda: pictures.dataset(column="none"),
        "tools": [pictures.show],
        **pictures.SHOWING,
    },
    "images, and more from tools": {
        "train_dataset": lambda: pictures.dataset(column="images"),
        "tools": [pictures.show],
        **pictures.SHOWING,
    },
    "images, text alone": {"train_dataset": lambda: pictures.dataset(column="none")},
}
AGENTS |= {name: {"kind": "images", **options} for name, options in IMAGES.items()}

PARTS = (LOSSES, REWARDS, BATCHES, SAMPLING, VLLM, MODELS, LOOP, AGENTS)
TABLE = {name: options for part in PARTS for name, options in part.items()}
assert len(TABLE) == sum(map(len, PARTS))
