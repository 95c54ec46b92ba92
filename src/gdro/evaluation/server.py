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

from gdro.common.secret_forms import masked
from gdro.common.secret_names import SHORT
from gdro.common.untrusted import shown
from gdro.evaluation.records import REFUSED, Completion, EvaluationError
from gdro.evaluation.reply import BODY, OddReply, Refused, completion, read_body
from gdro.evaluation.run import Options

_T = TypeVar("_T")
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_LONGEST_KEY = 4096


class ServerGenerator:
    """Completes prompts by requests to a server, one batch of them concurrently.

    Texts go to `/completions`, conversations to `/chat/completions`, one request per completion with
    its own seed. Requests that fail temporarily (no answer, 429, 5xx, an odd reply) are retried. Servers
    are not trusted: replies are limited in time and bytes and checked before they are stored, and
    redirects are not followed.

    Args:
        url: URL of the server, up to the version: `http://localhost:8000/v1`.
        model: The server's name of the model.
        retries: Most retries of a request.
        timeout_s: Most seconds for one completion, including retries and pauses.

    Settings that a server does not know are left out (`seed`, and `temperature` and `top_p` of 1) or
    renamed (`max_tokens` to `max_completion_tokens`). A prompt that it refuses, e.g. as too long, has an
    empty completion whose ending says why.

    Attributes:
        again: Number of retries by reason.
        left_out: Settings that the server refused.

    Raises:
        EvaluationError: The URL is invalid, or OPENAI_API_KEY cannot be a key.
    """

    def __init__(self, url: str, model: str, retries: int = 5, timeout_s: float = 600.0) -> None:
        self.name, self._retries, self._timeout_s = model, retries, timeout_s
        self.again: Counter[str] = Counter()
        self.left_out: set[str] = set()
        self._key, self._given = _key(), _checked(url)
        self._secrets = [text for text in (self._key, *_passwords(url)) if text]
        self._url = shown(url, self._secrets)

    def generate(self, prompts: Sequence[Any], options: Options, seed: int) -> list[Completion]:
        """Complete each of P texts or conversations once, shape (P,).

        Raises:
            EvaluationError: The server cannot be reached, refuses, or sends something else.
        """
        seeds = np.random.SeedSequence(seed).generate_state(len(prompts)) >> 1  # of 31 bits
        return _run(self._all(prompts, options, [int(own) for own in seeds]))

    async def _all(
        self, prompts: Sequence[Any], options: Options, seeds: Sequence[int]
    ) -> list[Completion]:
        # A whole reply: its text, escaped, and what servers add to it.
        hook = partial(read_body, most=2**20 + 256 * options.max_new_tokens)
        plain = DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [hook]})
        key = self._key or "none"  # local servers need no key, but the client insists on one
        own: dict[str, Any] = {"max_retries": 0, "timeout": self._timeout_s, "http_client": plain}
        client = AsyncOpenAI(base_url=self._given, api_key=key, **own)
        turns = asyncio.Semaphore(options.batch_size)

        async def one(prompt: Any, seed: int) -> Completion:
            async with turns:
                return await self._one(client, prompt, options, seed)

        async with client, asyncio.TaskGroup() as group:
            asked = [group.create_task(one(p, s)) for p, s in zip(prompts, seeds, strict=True)]
        return [task.result() for task in asked]

    async def _one(self, client: Any, prompt: Any, options: Options, seed: int) -> Completion:
        attempt = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    sent = self._settings(options, seed)
                    try:
                        return await self._ask(client, prompt, sent, options.max_new_tokens)
                    except Refused as problem:
                        if self._adapts(problem, sent):
                            continue
                        if problem.of_prompt:
                            return Completion("", None, REFUSED + shown(str(problem), self._secrets))
                        if attempt == self._retries or not problem.passes:
                            raise self._error(str(problem)) from None
                        self.again[problem.kind] += 1
                        await asyncio.sleep(_pause(problem.wait_s, attempt))
                        attempt += 1
        except TimeoutError:
            raise self._error(f"no complete answer within {self._timeout_s:g} s") from None

    def _settings(self, options: Options, seed: int) -> dict[str, Any]:
        """Settings of a request, without those that the server refused."""
        most = "max_completion_tokens" if "max_tokens" in self.left_out else "max_tokens"
        sent = {"seed": seed, "temperature": options.temperature, "top_p": options.top_p}
        sent[most] = options.max_new_tokens
        return {name: value for name, value in sent.items() if name not in self.left_out}

    def _adapts(self, problem: Refused, sent: dict[str, Any]) -> bool:
        """Whether the request may be repeated without a setting that the server does not know."""
        name = problem.setting(sent)
        # Any other temperature or top_p would give other samples.
        if name is None or (name in ("temperature", "top_p") and sent[name] != 1):
            return False
        self.left_out.add(name)
        return True

    async def _ask(self, client: Any, prompt: Any, sent: dict[str, Any], most_tokens: int) -> Completion:
        """Send one request; `Refused` says why there is no completion and whether to retry."""
        talks = not isinstance(prompt, str)
        ask = client.chat.completions if talks else client.completions
        how: dict[str, Any] = {"model": self.name, "messages" if talks else "prompt": prompt}
        plainly = {"Accept-Encoding": "identity"}
        try:
            async with ask.with_streaming_response.create(
                **how, extra_body=sent, extra_headers=plainly
            ) as reply:
                body = reply.http_response.extensions[BODY]
            answer = completion(body, talks, most_tokens)
        except OddReply as problem:
            raise Refused(str(problem), kind="odd reply", passes=True) from None
        except UnicodeEncodeError:
            raise Refused("the prompt holds a lone surrogate", "odd prompt", passes=False) from None
        except OpenAIError as problem:
            raise _refused(problem) from None
        # Short keys of local servers, such as "none", also occur as words and stay.
        return answer._replace(text=masked(answer.text, [s for s in self._secrets if len(s) >= SHORT]))

    def _error(self, why: str) -> EvaluationError:
        said = shown(why, self._secrets)
        return EvaluationError(
            f"{self._url} did not complete a prompt with model {shown(self.name)!r}: {said}; the same "
            "command continues from here"
        )


def _refused(problem: OpenAIError) -> Refused:
    """Why there was no reply: the cause that the client's exception wraps."""
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


def _key() -> str:
    """OPENAI_API_KEY or an empty text; errors do not quote it."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    bad = next((i for i, c in enumerate(key, 1) if not "!" <= c <= "~"), None)
    if bad is not None or len(key) > _LONGEST_KEY:
        what = f"character {bad} is a space, a line break or not ASCII" if bad else "it is too long"
        raise EvaluationError(f"OPENAI_API_KEY is not a key: {what}; export it again, without quotes")
    return key


def _checked(url: str) -> str:
    """The URL, if it can be a server's."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or IPv6 address
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
    """The result of a coroutine, also inside a notebook's loop; only the first error is raised."""
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
