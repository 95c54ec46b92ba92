"""Trainers that write down what verl trains on; of the plugin `probe`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import verl.trainer.ppo.v1.trainer_base as verl_trainer
from omegaconf import open_dict
from verl.experimental.agent_loop.agent_loop import register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.experimental.agent_loop.tool_parser import FunctionCall, ToolParser
from verl.tools.base_tool import BaseTool
from verl.tools.schemas import ToolResponse
from verl.trainer.ppo.v1 import PPOTrainerColocateAsync, PPOTrainerSync, register_trainer
from verl.trainer.ppo.v1.replay_buffer import ReplayBufferAsync

from gdro.integrations.verl import GDROColocateAsync, GDROTrainer

ROWS = (
    "prompts",
    "responses",
    "input_ids",
    "position_ids",
    "response_mask",
    "rollout_log_probs",
    "old_log_probs",
    "rollout_is_weights",
)


class Probe:
    """Writes one line for each step, before the actor is updated."""

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        seen: dict[str, Any] = {}
        write = verl_trainer.tq.kv_batch_put

        def put(keys: Any, partition_id: str, fields: Any = None, **options: Any) -> Any:
            names = [] if fields is None else list(fields.keys())
            if "advantages" in names:
                seen.update(
                    keys=list(keys), advantages=[a.tolist() for a in fields["advantages"].unbind()]
                )
            return write(keys=keys, partition_id=partition_id, fields=fields, **options)

        verl_trainer.tq.kv_batch_put = put
        step = getattr(self, "_step", None)
        joined = {} if step is None else {"recalled": sorted(step.recalled), "anchors": step.anchors}
        start = time.perf_counter()
        try:
            batch = super()._compute_advantage(batch, metrics)
        finally:
            verl_trainer.tq.kv_batch_put = write
        data = verl_trainer.tq.kv_batch_get(
            keys=seen["keys"],
            partition_id=batch.partition_id,
            select_fields=["index", "uid", "rm_scores", "num_turns", *ROWS],
        )
        names = set(data.keys())
        rows = {name: [r.tolist() for r in data[name].unbind()] for name in ROWS if name in names}
        gap = [
            float((a - b).abs().max())
            for a, b in zip(
                data["rollout_log_probs"].unbind(), data["old_log_probs"].unbind(), strict=True
            )
        ]
        line = {
            "step": self.global_steps,
            **seen,
            "seconds": time.perf_counter() - start,
            "padding": [bool(tag.get("is_padding", False)) for tag in batch.tags],
            "index": [int(getattr(i, "data", i)) for i in data["index"]],
            "reward": [float(r.sum()) for r in data["rm_scores"].unbind()],
            "tokens": rows["responses"],
            "uid": [str(getattr(u, "data", u)) for u in data["uid"]],
            "turns": [int(getattr(n, "data", n)) for n in data["num_turns"]],
            "tags": list(batch.tags),
            **joined,
            **rows,
            "gap": max(gap),
            "metrics": {k: float(v) for k, v in metrics.items() if k.startswith("gdro/")},
        }
        with Path(os.environ["PROBE_FILE"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
        return batch


@register("probe_turns")
class TwoTurns(SingleTurnAgentLoop):
    """After the answer a token of a tool, without loss, and one more of the model's."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> Any:
        output = await super().run(sampling_params, **kwargs)
        if len(output.response_ids) + 2 <= self.response_length:
            output.response_ids += [self.tokenizer.eos_token_id] * 2  # no text of their own
            output.response_mask += [0, 1]
            output.response_logprobs += [0.0, -1.0]
        return output


@ToolParser.register("probe_calls")
class Calls(ToolParser):
    """Two or more digits are a call of the calculator; a single one is the answer."""

    async def extract_tool_calls(
        self, responses_ids: list[int], tools: Any = None
    ) -> tuple[str, list[FunctionCall]]:
        text = self.tokenizer.decode(responses_ids, skip_special_tokens=True)
        digits = [letter for letter in text if letter.isdigit()]
        call = FunctionCall(name="next_digit", arguments=json.dumps({"digit": digits[:1]}))
        return text, [call] if len(digits) > 1 else []


class NextDigit(BaseTool):
    """A calculator of one operation: a point and the digit that follows."""

    async def execute(self, instance_id: str, parameters: dict[str, Any], **_: Any) -> Any:
        (digit,) = parameters["digit"]
        return ToolResponse(text=f".{(int(digit) + 1) % 10}"), 0.0, {}


@register_trainer("probe_stock")
class ProbeStock(Probe, PPOTrainerSync):
    """verl's own trainer, watched."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self.replay_buffer.poll_interval = 0.05


@register_trainer("probe_gdro")
class ProbeGdro(Probe, GDROTrainer):
    """gdro's trainer, watched."""


class InOrder(ReplayBufferAsync):
    """Waits for all rollouts, and samples groups in the order of their submission.

    verl takes what finished first, and of one step's groups any: two runs are never the same.
    """

    def _has_enough_samples(
        self, global_steps: int, partition_id: str, batch_size: int, sampleable_keys: set[str]
    ) -> bool:
        waiting = self.pending_keys[partition_id] | self.running_keys[partition_id]
        return not waiting and len(sampleable_keys) >= batch_size

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        order = {uid: place for place, uid in enumerate(self.prompt_global_steps[partition_id])}
        keys, rows, steps = super()._select_prompt_uids(partition_id, sampleable_keys, 1 << 30)
        return sorted(keys, key=lambda uid: (steps[uid], order[uid]))[:batch_size], rows, steps


@register_trainer("probe_stock_async")
class ProbeStockAsync(Probe, PPOTrainerColocateAsync):
    """verl's own asynchronous trainer, watched."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "colocate_async"
        super().__init__(config)
        self.replay_buffer.__class__ = InOrder
        self.replay_buffer.poll_interval = 0.05


@register_trainer("probe_gdro_async")
class ProbeGdroAsync(Probe, GDROColocateAsync):
    """gdro's asynchronous trainer, watched."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.replay_buffer.__class__ = InOrder

    def _save_checkpoint(self) -> None:
        # In the checkpoint two groups are still being answered: a resumed run starts them again.
        tags = verl_trainer.tq.kv_list("train")["train"]
        waiting = [key for key, tag in tags.items() if tag.get("is_prompt")][-2:]
        for status in ("running", "finished"):
            verl_trainer.tq.kv_batch_put(
                keys=waiting, partition_id="train", tags=[{"status": status} for _ in waiting]
            )
            if status == "running":
                super()._save_checkpoint()
