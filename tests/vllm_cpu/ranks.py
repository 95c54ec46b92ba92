"""Run by torchrun on two CPU processes; writes what each rank ended with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "integrations/trl"))

import cpu_weights
import runs
import torch

STEPS = 5


def train(model: Path, folder: Path, strategy: str, **options: Any) -> None:
    """Train, check this rank's rows, and write its state."""
    options |= {"per_device_train_batch_size": 8, "max_steps": STEPS}
    trainer: Any = runs.make(model, folder / strategy, strategy, **options)
    # As with a new engine: where two ranks are one engine, both must draw the same tokens.
    torch.manual_seed(trainer.accelerator.process_index // trainer.args.vllm_tensor_parallel_size)
    seen = runs.trained(trainer)
    runs.check(trainer, seen, STEPS)
    if strategy == "rollout-gdro":
        runs.check_ragged(seen)
    rank = trainer.accelerator.process_index
    (folder / f"{options.get('mode', 'colocate')}-{strategy}-{rank}").write_text(runs.state(trainer))


def main(mode: str, model: Path, folder: Path, server: str) -> None:
    """No resume: on two CPU processes the pinned transformers cannot read an optimizer's state."""
    cpu_weights.keep_layers_plain()
    cpu_weights.engine_for_tests(shared=True)
    cpu_weights.send_by_file()
    if mode == "tensor-parallel":
        train(model, folder, "rollout-gdro", vllm_tensor_parallel_size=2)
        train(model, folder, "dapo", vllm_tensor_parallel_size=2)
        return
    served = {"mode": "server", "vllm_server_base_url": server, "vllm_server_timeout": 120.0}
    train(model, folder, "rollout-gdro", **served)
    train(model, folder, "dapo", **served)
    train(model, folder, "default")
    train(model, folder, "rollout-gdro")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
