"""Checks of a server's replies: size, types of the protocol, plausible numbers."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable
from typing import Any, cast

from openai import OpenAIError

from gdro.common.untrusted import shown
from gdro.evaluation.records import CUT, Completion
from gdro.rewards.messages import content_of

BODY = "gdro_body"
_SLACK = 16  # tokens that servers count in addition, e.g. of the end or of a template
_LONGEST_WAIT_S = 60.0
_ERROR_BYTES = 2**16
# What servers say of a prompt that they will never complete.
_OF_PROMPT = re.compile(
    r"(context|prompt|input|conversation|sequence|messages?)\b.{0,80}"
    r"(length|window|too (long|large|many)|exceed|longer than|limit)"
    r"|(length|longer|tokens).{0,60}(context|max_model_len|model length|maximum length)"
    r"|maximum (context|sequence|model) length|too many (input |prompt )?tokens"
    r"|(reduce|shorten) (the|your) (length|size|prompt|input|messages)"
    r"|content[ _](filter|management|policy)",
    re.IGNORECASE,
)
_NO_SETTING = re.compile(
    r"(un|not )support|not (permitted|allowed|accepted)|does not (accept|allow)|unknown|unexpected"
    r"|unrecogni[sz]ed|extra (input|field|param)|additional propert|invalid (param|argument|field)",
    re.IGNORECASE,
)
_ZIPPED = {"gzip": 31, "x-gzip": 31, "deflate": 47}


class OddReply(ValueError):
    """A reply that is not a completion."""


class Refused(OpenAIError):
    """A request that ended without a completion.

    Args:
        why: Reason, for error messages.
        kind: Class of reasons, under which retries are counted.
        passes: Whether a retry may succeed.
        wait_s: Seconds that the server asks to wait before a retry.
    """

    def __init__(self, why: str, kind: str, passes: bool, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.kind, self.passes, self.wait_s = kind, passes, wait_s

    @property
    def of_prompt(self) -> bool:
        """Whether the server refuses this prompt, e.g. as too long, but may complete others."""
        fits = self.kind in ("status 400", "status 413", "status 422", "error reply")
        return fits and _OF_PROMPT.search(str(self)) is not None

    def setting(self, sent: Iterable[str]) -> str | None:
        """The setting of a request that the server does not know, None if it is none of those sent."""
        said = str(self)
        if self.kind not in ("status 400", "status 404", "status 422") or not _NO_SETTING.search(said):
            return None
        return next((name for name in sent if re.search(rf"\b{name}\b", said)), None)


async def read_body(response: Any, most: int) -> None:
    """Read at most `most` bytes of an httpx response, raw and decoded, into its extensions.

    Raises:
        Refused: Its status is not a success, it is too long, or its encoding is unknown.
    """
    status = response.status_code
    good = 200 <= status < 300
    packing = response.headers.get("content-encoding", "identity").strip().lower() or "identity"
    limit = most if good else _ERROR_BYTES
    try:
        body = await _read(response, packing, limit)
    except OddReply as problem:
        if good:
            raise Refused(str(problem), kind="odd reply", passes=True) from None
        body = b""
    if good:
        response.extensions[BODY] = body
        return
    passes = status in (408, 409, 429) or status >= 500
    raise Refused(_why(response, body), f"status {status}", passes, _wait(response.headers))


async def _read(response: Any, packing: str, limit: int) -> bytes:
    if packing != "identity" and packing not in _ZIPPED:
        raise OddReply(f"it is encoded as {packing[:40]!r}, which was not requested")
    unpack = zlib.decompressobj(_ZIPPED[packing]) if packing in _ZIPPED else None
    body, sent = bytearray(), 0
    async for raw in response.aiter_raw():
        sent += len(raw)
        try:
            body += raw if unpack is None else unpack.decompress(raw, limit + 1 - len(body))
        except zlib.error as problem:
            raise OddReply(f"it is not valid {packing} ({problem})") from None
        if max(sent, len(body)) > limit:
            raise OddReply(f"it is longer than {limit:,} bytes, more than the requested tokens can take")
    if unpack is not None and not unpack.eof:
        raise OddReply(f"its {packing} ends too soon")
    return bytes(body)


def _why(response: Any, body: bytes) -> str:
    """The message in an error's body, in the forms that servers use."""
    status = response.status_code
    if 300 <= status < 400:
        place = shown(response.headers.get("location", "nowhere"))
        return f"status {status}: it redirects to {place}, which is not followed; give that URL if right"
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)
    except (ValueError, RecursionError):
        return f"status {status}: {shown(text) or 'without a message'}"
    return f"status {status}: {_said(error)}"


def _said(error: Any) -> str:
    """The words of an error, in the forms that servers use."""
    for key in ("error", "message", "detail", "msg"):
        if isinstance(error, dict) and key in error:
            error = cast("dict[str, Any]", error)[key]
    return shown(error if isinstance(error, str) else json.dumps(error))


def _wait(headers: Any) -> float | None:
    """Seconds that the server asks to wait, limited to a minute; None if it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, _LONGEST_WAIT_S)
    return None


def completion(body: bytes, talks: bool, most_tokens: int) -> Completion:
    """The completion in a reply, of the chat protocol if `talks`; its tokens are None without `usage`.

    Raises:
        Refused: It is an error about the prompt.
        OddReply: It does not follow the protocol, or its numbers are impossible.
    """
    reply = _json(body)
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _error(reply)
    choice = cast("list[Any]", choices)[0]
    text = _text(choice, talks)
    end = CUT if cast("dict[str, Any]", choice).get("finish_reason") in (CUT, "max_tokens") else ""
    return Completion(text, _tokens(reply.get("usage"), text, most_tokens), end)


def _error(reply: dict[str, Any]) -> Exception:
    """What a reply without choices is."""
    if not any(reply.get(key) for key in ("error", "message", "detail", "msg")):
        why = "a reply without choices, so not in OpenAI's protocol; the URL should end in /v1"
        return OddReply(why)
    why = f"an error with a success status: {_said(reply)}"
    refused = Refused(why, kind="error reply", passes=False)
    return refused if refused.of_prompt else OddReply(why)


def _tokens(usage: Any, text: str, most_tokens: int) -> int | None:
    """Number of tokens in a reply's usage, None if it has none."""
    if usage is not None and not isinstance(usage, dict):
        raise OddReply(f"usage is {shown(repr(usage), most=60)}; it must be an object")
    tokens = None if usage is None else cast("dict[str, Any]", usage).get("completion_tokens")
    if tokens is None:
        return None
    if type(tokens) is not int:
        raise OddReply(
            f"usage.completion_tokens is {shown(repr(tokens), most=60)}; it must be a whole number"
        )
    if not bool(text) <= tokens <= most_tokens + _SLACK:
        raise OddReply(
            f"usage.completion_tokens is {shown(repr(tokens), most=60)} for a text of {len(text):,} "
            f"characters, with max_tokens {most_tokens:,}; use a server that respects max_tokens and "
            "counts tokens"
        )
    return tokens


def _text(choice: Any, talks: bool) -> str:
    where = "choices[0].message.content" if talks else "choices[0].text"
    if talks:
        choice = cast("dict[str, Any]", choice).get("message") if isinstance(choice, dict) else None
    name = "content" if talks else "text"
    if not isinstance(choice, dict) or name not in choice:
        raise OddReply(f"a reply without {where}, so not in OpenAI's protocol")
    # Chats: None is a refusal, a tool call, or only reasoning; a list holds parts.
    text: Any = content_of(choice) if talks else cast("dict[str, Any]", choice)[name]
    if not isinstance(text, str):
        raise OddReply(f"{where} is {shown(repr(text), most=60)}; it must be a text")
    return text


def _json(body: bytes) -> dict[str, Any]:
    def no_number(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        reply = json.loads(body.decode("utf-8-sig"), parse_constant=no_number)
    except UnicodeDecodeError as problem:
        raise OddReply(f"a reply that is not UTF-8 at byte {problem.start}") from None
    except (ValueError, RecursionError) as problem:
        began = shown(body[:200].decode("utf-8", "replace"), most=80)
        raise OddReply(
            f"a reply that is not JSON ({shown(str(problem), most=100)}): {began!r}"
        ) from None
    if not isinstance(reply, dict):
        raise OddReply(f"a reply that is {type(reply).__name__}, not a JSON object")
    return cast("dict[str, Any]", reply)
