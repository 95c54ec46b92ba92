"""Run by torchrun on two CPU processes: sharded weights (FSDP2 on gloo) beside whole ones."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import tiny
import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from gdro.integrations.trl import GDROTrainer

FSDP: dict[str, Any] = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "transformer_layer_cls_to_wrap": ["Qwen3DecoderLayer"],
        "state_dict_type": "SHARDED_STATE_DICT",
    },
}


STRATEGIES = {"default": None, "dapo": "dapo"}
_start = AcceleratorState.__init__


def start_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    """As accelerate's, which takes FSDP on accelerators alone: gloo shards as well on a CPU."""
    _start(self, *args, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        PartialState().distributed_type = self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = start_sharded


def make(folder: Path, strategy: str | None, **options: Any) -> GDROTrainer:
    saved: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2}
    return GDROTrainer(
        model=tiny.model(),
        reward_funcs=tiny.lucky,
        processing_class=tiny.tokenizer(),
        args=tiny.config(
            **{"output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 8}
            | saved
            | options
        ),
        train_dataset=tiny.dataset(),
        strategy=strategy,
    )


def weights(trainer: GDROTrainer) -> torch.Tensor:
    """All weights, whole on every rank."""
    parts = [p.detach() for p in trainer.model.parameters()]
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in parts]
    return torch.cat([p.flatten() for p in whole])


def ended(trainer: GDROTrainer) -> str:
    bits = hashlib.sha256(weights(trainer).numpy().tobytes()).hexdigest()
    return f"{trainer.controller.digest()} {bits}"


def main(folder: Path) -> None:
    whole: dict[str, tuple[torch.Tensor, str]] = {}
    for name, strategy in STRATEGIES.items():
        trainer = make(folder / f"{name}-whole", strategy)
        trainer.train()
        whole[name] = weights(trainer), trainer.controller.digest()
    # Accelerate keeps one way of distributing for the whole process.
    AcceleratorState._reset_state(reset_partial_state=True)
    for name, strategy in STRATEGIES.items():
        sharded = make(folder / name, strategy, **FSDP)
        sharded.train()
        assert all(hasattr(p, "full_tensor") for p in sharded.model.parameters()), "nothing is sharded"
        expected, digest = whole[name]
        assert torch.allclose(weights(sharded), expected, atol=1e-5)
        assert sharded.controller.digest() == digest
        again = make(folder / name, strategy, **FSDP)
        again.train(resume_from_checkpoint=str(folder / f"{name}/checkpoint-4"))
        rank = again.accelerator.process_index
        (folder / f"{name}{rank}.txt").write_text(f"{ended(sharded)}\n{ended(again)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
