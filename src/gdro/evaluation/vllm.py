"""Generation by vLLM, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.evaluation.run import Options


class VllmGenerator:
    """Completes prompts with vLLM.

    Args:
        path: Folder of the model, or its name on the hub.
        **options: Options of `vllm.LLM`, e.g. `tensor_parallel_size`.

    Raises:
        ImportError: vLLM is not installed.
    """

    def __init__(self, path: str, **options: Any) -> None:
        # Imported here, so that the module can be imported without vLLM.
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

        self.name = path
        self._llm, self._sampling = LLM(model=path, **options), SamplingParams

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each of P texts or conversations once: text and number of tokens, shape (P,)."""
        how = {"temperature": options.temperature, "top_p": options.top_p}
        how["max_tokens"] = options.max_new_tokens
        seeds = np.random.SeedSequence(seed).generate_state(len(prompts)) >> 1
        sampling = [self._sampling(**how, seed=int(own)) for own in seeds]
        complete = self._llm.generate if isinstance(prompts[0], str) else self._llm.chat
        answers = [reply.outputs[0] for reply in complete(list(prompts), sampling, use_tqdm=False)]
        return [(answer.text, len(answer.token_ids)) for answer in answers]
