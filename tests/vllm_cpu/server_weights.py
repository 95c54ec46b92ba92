"""What a server is started with: `--worker-extension-cls server_weights.FromFile`."""

from __future__ import annotations

from typing import Any

import vllm._custom_ops as operators
from safetensors.torch import load_file

# As cpu_weights.keep_layers_plain; a worker imports this before it makes its model.
operators._supports_onednn = False


class FromFile:
    """Becomes a base class of the server's worker."""

    model_runner: Any

    def load_file(self, path: str) -> None:
        """Take the weights of a safetensors file."""
        self.model_runner.model.load_weights(load_file(path).items())
