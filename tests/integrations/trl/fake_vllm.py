"""Stands in for `trl.trainer.grpo_trainer.VLLMGeneration`: what TRL asks of vLLM, without vLLM.

It keeps to what the adapter could break. A server sees the prompts of all ranks, takes every n-th and
answers each n times; colocated, each rank has its own rows answered once. Weights are a copy that only
`sync_weights` refreshes, and log-probabilities are those of the sampler, which never are the trainer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import tiny
import torch
from accelerate.utils import broadcast_object_list, gather_object
from transformers import AutoModelForCausalLM

Tokens = list[int]


@dataclass(frozen=True)
class Call:
    """One request of the trainer: rows of this rank, and how many answers a prompt it asked for."""

    prompts: list[Tokens]
    num_generations: int


class FakeVLLM:
    """As VLLMGeneration, for what GRPOTrainer uses of it.

    Args:
        model: The trainer's.
        accelerator: The trainer's.
        processing_class: Its tokenizer.
        options: What TRL sets for vLLM.
    """

    noise = 0.0
    """Largest difference between the sampler's log-probability of a token and the model's."""

    def __init__(self, model: Any, accelerator: Any, processing_class: Any, **options: Any) -> None:
        self._trained, self._accelerator, self._options = model, accelerator, options
        self._end = processing_class.eos_token_id
        self._served = AutoModelForCausalLM.from_config(model.config).eval()
        self._random = torch.Generator().manual_seed(11)
        self.synced, self.calls = 0, list[Call]()
        server = {"model_config": {"logprobs_mode": "processed_logprobs"}}
        self.vllm_client = SimpleNamespace(get_server_info=lambda: server)
        longest = SimpleNamespace(max_model_len=model.config.max_position_embeddings)
        self.llm = SimpleNamespace(llm_engine=SimpleNamespace(model_config=longest))

    def sync_weights(self) -> None:
        """Take the trainer's weights."""
        self._served.load_state_dict(self._trained.state_dict())
        self.synced += 1

    def generate(
        self, prompts: list[Tokens], images: Any, num_generations: int, profiler: Any = None
    ) -> tuple[list[Tokens], list[Tokens], list[list[list[float]]], None]:
        """Answer the rows of this rank; as VLLMGeneration's."""
        self.calls.append(Call(prompts, num_generations))
        if self._options["mode"] == "colocate":
            return prompts, *self._answers(prompts), None
        asked = gather_object(prompts)[::num_generations]
        answers: list[Any] = [None]
        if self._accelerator.is_main_process:
            answers = [self._answers([p for p in asked for _ in range(num_generations)])]
        broadcast_object_list(answers, from_process=0)
        first = self._accelerator.process_index * len(prompts)
        tokens, logps = (part[first : first + len(prompts)] for part in answers[0])
        return prompts, tokens, logps, None

    @torch.no_grad()
    def _answers(self, prompts: list[Tokens]) -> tuple[list[Tokens], list[list[list[float]]]]:
        tokens: list[Tokens] = [[] for _ in prompts]
        logps: list[list[list[float]]] = [[] for _ in prompts]
        for _ in range(self._options["max_completion_length"]):
            running = [r for r, row in enumerate(tokens) if not row or row[-1] != self._end]
            if not running:
                break
            logp_RV = self._next([prompts[r] + tokens[r] for r in running])
            drawn = torch.multinomial(logp_RV.exp(), 1, generator=self._random)[:, 0].tolist()
            for r, token, logp_V in zip(running, drawn, logp_RV, strict=True):
                tokens[r].append(token)
                logps[r].append([float(logp_V[token]) + self.noise * (r % 3 - 1)])
        return tokens, logps

    def _next(self, rows: list[Tokens]) -> torch.Tensor:
        """Log-probabilities of the next token of each row, shape (rows, V)."""
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        logits = self._served(input_ids=ids).logits  # causal: padding behind a row does not reach it
        last = torch.tensor([len(row) - 1 for row in rows])
        chosen = logits[torch.arange(len(rows)), last].float()
        return (chosen / self._options["temperature"]).log_softmax(-1)


def model(**changes: int) -> Any:
    """The tiny model with weights ten times as large: at its own size prompts hardly matter to it, and
    rows that were given to the wrong prompt would look right."""
    scaled = tiny.model(**changes)
    for parameter in scaled.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(10.0)
    return scaled
