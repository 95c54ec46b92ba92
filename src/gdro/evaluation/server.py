"""Generation by a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, or a hosted one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from openai import OpenAI, OpenAIError

from gdro.evaluation.records import EvaluationError
from gdro.evaluation.run import Options


class ServerGenerator:
    """Completes prompts by requests, as many at once as the batch has.

    Texts go to `/completions`, conversations to `/chat/completions`, one request a completion with a
    seed of its own. A request that fails for a while (no answer, 429, 5xx) is made again.

    Args:
        url: Of the server, up to the version: `http://localhost:8000/v1`.
        model: Name that the server knows it by.
        retries: Most times that a request is made again.
        timeout_s: Most seconds for one answer.
    """

    def __init__(self, url: str, model: str, retries: int = 5, timeout_s: float = 600.0) -> None:
        self.name, self._url = model, url
        # Local servers want no key; the client wants some text.
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self._client: Any = OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=timeout_s)

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[tuple[str, int]]:
        """Complete each prompt once.

        Args:
            prompts: Texts or conversations, shape (P,).
            options: How to sample.
            seed: Of this batch; servers that heed seeds give the same again.

        Returns:
            Text and number of tokens, shape (P,).

        Raises:
            EvaluationError: The server cannot be reached, refuses, or answers something else.
        """
        seeds = np.random.SeedSequence(seed).generate_state(len(prompts)) >> 1  # of 31 bits
        with ThreadPoolExecutor(max(1, min(len(prompts), options.batch_size))) as pool:
            asked = [pool.submit(self._one, prompt, options, int(own))
                     for prompt, own in zip(prompts, seeds, strict=True)]  # fmt: skip
            try:
                return [answer.result() for answer in asked]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, prompt: Any, options: Options, seed: int) -> tuple[str, int]:
        how: dict[str, Any] = {
            "model": self.name, "max_tokens": options.max_new_tokens, "seed": seed,
            "temperature": options.temperature, "top_p": options.top_p,
        }  # fmt: skip
        try:
            if isinstance(prompt, str):
                reply = self._client.completions.create(prompt=prompt, **how)
            else:
                reply = self._client.chat.completions.create(messages=prompt, **how)
        except OpenAIError as problem:
            why = problem.__cause__ or problem
            raise EvaluationError(
                f"{self._url} did not complete a prompt with model {self.name!r}: {why}; the same "
                "command goes on from here"
            ) from problem
        choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
        if not choices or usage is None:
            raise EvaluationError(
                f"{self._url} answers without choices or usage, so not in OpenAI's protocol; the URL "
                "should end in /v1"
            )
        text = choices[0].text if isinstance(prompt, str) else choices[0].message.content
        return text or "", usage.completion_tokens
