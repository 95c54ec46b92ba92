"""Lets stock TRL give its weights to vLLM on a CPU. On a GPU nothing of this is needed.

TRL's two ways do not work here. Colocated, it writes into the linear layers of vLLM, which packs them
for oneDNN and drops the originals. To a server it broadcasts with NCCL, which needs GPUs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import trl.generation.vllm_client as client
import trl.generation.vllm_generation as generation
import vllm._custom_ops as operators
from safetensors.torch import save_file

LOAD = "load_file"  # the method of server_weights.FromFile


def keep_layers_plain() -> None:
    """Stop vLLM from packing linear layers, in models that are made from now on in this process."""
    operators._supports_onednn = False


def engine_for_tests(*, shared: bool) -> None:
    """Make the engines of TRL start in seconds, and compute in the precision of the trainer.

    Args:
        shared: Trainers with the same options get the same engine; each of them sends its weights.
    """
    # Compiling takes a minute, and the default precision is bfloat16.
    make: Callable[..., Any] = partial(generation.LLM, enforce_eager=True, dtype="float32")
    generation.LLM = cache(make) if shared else make


def send_by_file() -> None:
    """Make TRL's client write weights into a file, which a server with `FromFile` reads."""

    def init_communicator(self: Any, device: Any = None) -> None:
        """There is none."""

    def update_named_params(
        self: Any, metadata: Any, named_params: Iterator[tuple[str, torch.Tensor]]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "weights.safetensors")
            # Tensors may share memory, and those of a merged adapter change when this ends.
            save_file({name: tensor.detach().clone() for name, tensor in named_params}, path)
            self._post(f"{self.base_url}/collective_rpc", json={"method": LOAD, "args": [path]})

    client.VLLMClient.init_communicator = init_communicator
    client.VLLMClient.update_named_params = update_named_params
