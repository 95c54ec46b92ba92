"""Generation by a server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, or a hosted one."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import numpy as np
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from gdro.common.redact import SHORT, masked, shown
from gdro.evaluation.records import EvaluationError
from gdro.evaluation.reply import BODY, OddReply, Refused, completion, kept_body
from gdro.evaluation.run import Options

_T = TypeVar("_T")
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_LONGEST_KEY = 4096


class ServerGenerator:
    """Completes prompts by requests, as many at once as the batch has.

    Texts go to `/completions`, conversations to `/chat/completions`, one request a completion with a
    seed of its own. A request that fails for a while (no answer, 429, 5xx), or is answered oddly, is
    made again. A server is a stranger: what it sends is bounded in time and bytes, and checked before it
    is kept; redirections are not followed.

    Args:
        url: Of the server, up to the version: `http://localhost:8000/v1`.
        model: Name that the server knows it by.
        retries: Most times that a request is made again.
        timeout_s: Most seconds for one completion, with all its requests and pauses.

    Attributes:
        again: Requests that were made again, by why.

    Raises:
        EvaluationError: The URL is none, or OPENAI_API_KEY no key.
    """

    def __init__(self, url: str, model: str, retries: int = 5, timeout_s: float = 600.0) -> None:
        self.name, self._retries, self._timeout_s = model, retries, timeout_s
        self.again: Counter[str] = Counter()
        self._key, self._given = _key(), _checked(url)
        self._secrets = [text for text in (self._key, *_passwords(url)) if text]
        self._url = shown(url, self._secrets)

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
        return _run(self._all(prompts, options, [int(own) for own in seeds]))

    async def _all(
        self, prompts: Sequence[Any], options: Options, seeds: Sequence[int]
    ) -> list[tuple[str, int]]:
        hook = partial(kept_body, most=_most_bytes(options))
        plain = DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [hook]})
        # Local servers want no key; the client wants some text.
        client: Any = AsyncOpenAI(
            base_url=self._given, api_key=self._key or "none", max_retries=0,
            timeout=self._timeout_s, http_client=plain,
        )  # fmt: skip
        turns = asyncio.Semaphore(options.batch_size)

        async def one(prompt: Any, seed: int) -> tuple[str, int]:
            async with turns:
                return await self._one(client, prompt, options, seed)

        async with client, asyncio.TaskGroup() as group:
            asked = [group.create_task(one(p, s)) for p, s in zip(prompts, seeds, strict=True)]
        return [task.result() for task in asked]

    async def _one(self, client: Any, prompt: Any, options: Options, seed: int) -> tuple[str, int]:
        try:
            async with asyncio.timeout(self._timeout_s):
                for attempt in range(self._retries + 1):
                    try:
                        return await self._ask(client, prompt, options, seed)
                    except Refused as problem:
                        if attempt == self._retries or not problem.passes:
                            raise self._error(str(problem)) from None
                        self.again[problem.kind] += 1
                        await asyncio.sleep(_pause(problem.wait_s, attempt))
        except TimeoutError:
            raise self._error(f"no whole answer within {self._timeout_s:g} s") from None
        raise AssertionError  # the last attempt returned or raised

    async def _ask(self, client: Any, prompt: Any, options: Options, seed: int) -> tuple[str, int]:
        """One request.

        Raises:
            Refused: It was not answered by a completion; says why, and whether that may pass.
        """
        talks = not isinstance(prompt, str)
        ask = client.chat.completions if talks else client.completions
        how: dict[str, Any] = {
            "model": self.name, "max_tokens": options.max_new_tokens, "seed": seed,
            "temperature": options.temperature, "top_p": options.top_p,
            "messages" if talks else "prompt": prompt,
        }  # fmt: skip
        plainly = {"Accept-Encoding": "identity"}
        try:
            async with ask.with_streaming_response.create(**how, extra_headers=plainly) as reply:
                body = reply.http_response.extensions[BODY]
            text, tokens = completion(body, talks, options.max_new_tokens)
        except OddReply as problem:
            raise Refused(str(problem), kind="odd reply", passes=True) from None
        except UnicodeEncodeError:
            raise Refused("the prompt holds half of a character", "odd prompt", passes=False) from None
        except OpenAIError as problem:
            raise _refused(problem) from None
        # Words such as "none" are keys of local servers, and words.
        return masked(text, [s for s in self._secrets if len(s) >= SHORT]), tokens

    def _error(self, why: str) -> EvaluationError:
        said = shown(why, self._secrets)
        return EvaluationError(
            f"{self._url} did not complete a prompt with model {shown(self.name)!r}: {said}; the same "
            "command goes on from here"
        )


def _refused(problem: OpenAIError) -> Refused:
    """Why there was no reply; what the client wraps is what happened."""
    why = problem if isinstance(problem, Refused) else problem.__cause__ or problem
    if isinstance(why, Refused):
        return why
    said, deepest = str(why) or type(why).__name__, why
    while (below := deepest.__cause__ or deepest.__context__) is not None:
        deepest = below
    if isinstance(deepest, OSError) and deepest.errno:  # "All connection attempts failed" hides it
        said = f"{said} ({os.strerror(deepest.errno)})"
    return Refused(said, kind="no answer", passes=True)


def _pause(wait_s: float | None, attempt: int) -> float:
    if wait_s is not None:
        return wait_s
    return min(_LONGEST_PAUSE_S, _PAUSE_S * 2**attempt)


def _most_bytes(options: Options) -> int:
    """A whole reply: its text, escaped, and whatever a server says besides."""
    return 2**20 + 256 * options.max_new_tokens


def _key() -> str:
    """OPENAI_API_KEY, empty where there is none.

    Raises:
        EvaluationError: It cannot be sent in a header; the message does not quote it.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    bad = next((i for i, c in enumerate(key, 1) if not "!" <= c <= "~"), None)
    if bad is not None or len(key) > _LONGEST_KEY:
        what = (
            f"character {bad} is a space, a line break or no letter of ASCII"
            if bad
            else "it is too long"
        )
        raise EvaluationError(f"OPENAI_API_KEY is no key: {what}; export it again, without quotes")
    return key


def _checked(url: str) -> str:
    """The URL.

    Raises:
        EvaluationError: It is none of a server.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port, or of an IPv6 address
        good = False
    if not good or not re.fullmatch(r"[!-~]+", url) or not _is_host(urlsplit(url).hostname or ""):
        raise EvaluationError(
            f"the server is {shown(url)!r}; it must be a URL, e.g. http://localhost:8000/v1"
        )
    return url


def _passwords(url: str) -> list[str]:
    password = urlsplit(url).password or ""
    return [password, unquote(password)]


def _is_host(name: str) -> bool:
    return ":" in name or re.fullmatch(r"[\w.-]*\w\.?", name, re.ASCII) is not None


def _run(asked: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine, inside of a notebook's loop too; the first error alone is raised."""
    try:
        if _is_in_loop():
            return ThreadPoolExecutor(1).submit(asyncio.run, asked).result()
        return asyncio.run(asked)
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
