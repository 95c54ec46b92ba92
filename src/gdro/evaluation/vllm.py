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
        **options: Of `vllm.LLM`, e.g. `tensor_parallel_size`.

    Raises:
        ImportError: vLLM is not installed.
    """

    def __init__(self, path: str, **options: Any) -> None:
        # Here, so that the module can be looked at where there is no vLLM, which is most machines.
        from vllm import LLM, SamplingParams  # pyright: ignore[reportAttributeAccessIssue]

        self.name = path
        self._llm, self._sampling = LLM(model=path, **options), SamplingParams

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each prompt once.

        Args:
            prompts: Texts, or conversations, to which the chat template is applied, shape (P,).
            options: How to sample.
            seed: Of this batch.

        Returns:
            Text and number of tokens, shape (P,).
        """
        how = [
            self._sampling(
                temperature=options.temperature, top_p=options.top_p,
                max_tokens=options.max_new_tokens, seed=int(own),
            )
            for own in np.random.SeedSequence(seed).generate_state(len(prompts)) >> 1
        ]  # fmt: skip
        complete = self._llm.generate if isinstance(prompts[0], str) else self._llm.chat
        found = [reply.outputs[0] for reply in complete(list(prompts), how, use_tqdm=False)]
        return [(answer.text, len(answer.token_ids)) for answer in found]
