"""A rollout replica that generates with transformers on a CPU.

It must not import `gdro.integrations.verl`: in the server's process Ray imports this module first, and
that package must be imported by verl as a plugin.
"""

# pyright: reportMissingImports=false
# verl has an environment of its own.

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from gdro.dry_run.verl.sampling import Draw, Sampling, sample

BATCH = 64  # most requests that are answered together
PATIENCE = 0.02  # seconds in which requests are gathered into one batch


def _name(rank: int) -> str:
    return f"gdro_cpu_server_{rank}"


@dataclass
class _Batch:
    """Requests that are answered together; all of a step have the same sampling parameters."""

    params: dict[str, Any]
    draws: list[Draw] = field(default_factory=list)
    answers: asyncio.Task[list[tuple[list[int], list[float]]]] | None = None


@ray.remote(num_cpus=0)
class CpuServer:
    """Gathers requests into batches and answers them; the server of rank 0 numbers all draws."""

    def __init__(self, path: str, seed: int, response_length: int, rank: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path)
        eos = tokenizer.eos_token_id
        self._ends, self._pad = [eos], eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._seed, self._longest, self._rank = seed, response_length, rank
        self._step, self._batch = 0, None
        self._drawn: dict[tuple[int, tuple[int, ...]], int] = {}

    async def ready(self) -> bool:
        """Whether the model is loaded."""
        return True

    async def number(self, step: int, prompt: tuple[int, ...]) -> int:
        """Number of earlier requests for this prompt in this step, over all replicas."""
        if any(known != step for known, _ in self._drawn):
            self._drawn.clear()
        drawn = self._drawn.get((step, prompt), 0)
        self._drawn[step, prompt] = drawn + 1
        return drawn

    async def load(self, weights: dict[str, torch.Tensor], step: int | None) -> None:
        """Load the trainer's weights."""
        loaded = self._model.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
        if loaded.unexpected_keys:
            raise KeyError(
                f"the trainer sent weights that the model lacks: {loaded.unexpected_keys[:3]}"
            )
        self._step = self._step if step is None else step

    async def generate(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str, **_: Any
    ) -> TokenOutput:
        """Answer one request."""
        prompt = tuple(prompt_ids)
        first: Any = self if self._rank == 0 else ray.get_actor(_name(0))
        number = first.number if first is self else first.number.remote
        draw = Draw(prompt, self._seed, self._step, await number(self._step, prompt))
        batch = self._batch
        if batch is None or len(batch.draws) == BATCH:
            batch = self._batch = _Batch(sampling_params)
            batch.answers = asyncio.create_task(self._answer(batch))
        batch.draws.append(draw)
        place = len(batch.draws) - 1
        assert batch.answers is not None
        tokens, logps = (await batch.answers)[place]
        extra = {"global_steps": self._step}
        return TokenOutput(
            token_ids=tokens, log_probs=logps, stop_reason="completed", extra_fields=extra
        )

    async def _answer(self, batch: _Batch) -> list[tuple[list[int], list[float]]]:
        """Wait for more requests, then answer all; an error is raised in each of them."""
        await asyncio.sleep(PATIENCE)
        if self._batch is batch:
            self._batch = None
        params = batch.params
        limit = params.get("max_tokens") or params.get("max_new_tokens") or self._longest
        temperature, top_p = float(params.get("temperature", 1.0)), float(params.get("top_p", 1.0))
        sampling = Sampling(temperature, top_p, params.get("top_k") or 0)
        return sample(self._model, batch.draws, limit, sampling, self._ends, self._pad)

    async def set_global_steps(self, step: int) -> None:
        """Set the version of the weights."""
        self._step = step

    async def _idle(self, *_: Any, **__: Any) -> None:
        """Does nothing: on a GPU this releases memory for the trainer, or takes it back."""

    wake_up = sleep = clear_kv_cache = release_kv_cache = resume_kv_cache = _idle
    abort_all_requests = resume_generation = start_profile = stop_profile = _idle


class CpuReplica(RolloutReplica):
    """A replica with one server."""

    async def launch_servers(self) -> None:
        """Start the server and wait for its model."""
        name = _name(self.replica_rank)
        actor: Any = CpuServer
        server = actor.options(name=name, max_concurrency=self.max_concurrency).remote(
            self.model_config.path, self.config.seed, self.config.response_length, self.replica_rank
        )
        await server.ready.remote()
        self.servers, self._server_handle, self._server_address = [server], server, name


class WeightSender(BaseRollout):
    """Sends the trainer's weights to a replica."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:
        super().__init__(config, model_config, device_mesh)
        self._rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank

    async def resume(self, tags: list[str]) -> None:
        """Nothing was released."""

    async def release(self) -> None:
        """Nothing to release."""

    async def update_weights(
        self, weights: Any, global_steps: int | None = None, wire_format: str = "named_tensors", **_: Any
    ) -> None:
        """Send all weights at once; these models are small."""
        if wire_format != "named_tensors":
            raise NotImplementedError(
                f"weights in format {wire_format!r}; use checkpoint_engine.backend=naive"
            )
        if hasattr(weights, "__aiter__"):
            copies = {name: value.detach().cpu().clone() async for name, value in weights}
        else:
            copies = {name: value.detach().cpu().clone() for name, value in weights}
        await ray.get_actor(_name(self._rank)).load.remote(copies, global_steps)
