"""What a server may answer: bounded in bytes, of the protocol's types, possible numbers."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, cast

from openai import OpenAIError

from gdro.common.redact import shown

BODY = "gdro_body"
_SLACK = 16  # tokens that servers count besides: of the end, of a template
_LONGEST_WAIT_S = 60.0
_ERROR_BYTES = 2**16
_ZIPPED = {"gzip": 31, "x-gzip": 31, "deflate": 47}


class OddReply(ValueError):
    """A reply that is no completion."""


class Refused(OpenAIError):
    """A request that ended without a completion.

    Args:
        why: For a message.
        kind: For a count.
        passes: Whether it is worth to ask again.
        wait_s: Seconds that the server asks to wait.
    """

    def __init__(self, why: str, kind: str, passes: bool, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.kind, self.passes, self.wait_s = kind, passes, wait_s


async def kept_body(response: Any, most: int) -> None:
    """Read a response of httpx, at most so many bytes, and keep them in its extensions.

    Args:
        response: As soon as its headers have come.
        most: Bytes, as sent and unpacked.

    Raises:
        Refused: Its status is no success, or it is too long or packed in another way than known.
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
        raise OddReply(f"it is packed as {packing[:40]!r}, which was not asked for")
    unpack = zlib.decompressobj(_ZIPPED[packing]) if packing in _ZIPPED else None
    body, sent = bytearray(), 0
    async for raw in response.aiter_raw():
        sent += len(raw)
        try:
            body += raw if unpack is None else unpack.decompress(raw, limit + 1 - len(body))
        except zlib.error as problem:
            raise OddReply(f"it is no {packing} ({problem})") from None
        if max(sent, len(body)) > limit:
            raise OddReply(f"it is longer than {limit:,} bytes, more than the tokens asked for can take")
    if unpack is not None and not unpack.eof:
        raise OddReply(f"its {packing} ends too soon")
    return bytes(body)


def _why(response: Any, body: bytes) -> str:
    """What an error's body says, in the forms that servers have."""
    status = response.status_code
    if 300 <= status < 400:
        place = shown(response.headers.get("location", "nowhere"))
        return (
            f"status {status}: it leads to {place}, which is not followed; give that URL if it is right"
        )
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return f"status {status}: {shown(text) or 'without a word'}"
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = cast("dict[str, Any]", found)[key]
    said = found if isinstance(found, str) else json.dumps(found)
    return f"status {status}: {shown(said)}"


def _wait(headers: Any) -> float | None:
    """Seconds to wait, if the server says a number; none that would take the evaluation's time."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, _LONGEST_WAIT_S)
    return None


def completion(body: bytes, talks: bool, most_tokens: int) -> tuple[str, int]:
    """Text and number of tokens of a reply.

    Args:
        body: JSON.
        talks: Whether it is a chat's.
        most_tokens: That were asked for.

    Raises:
        OddReply: It is not in the protocol, or its numbers cannot be.
    """
    reply = _json(body)
    error, choices, usage = reply.get("error"), reply.get("choices"), reply.get("usage")
    if error and not choices:
        raise OddReply(f"an error with a status of success: {shown(json.dumps(error))}")
    if not isinstance(choices, list) or not choices or not isinstance(usage, dict):
        lacking = "choices" if not isinstance(choices, list) or not choices else "usage"
        raise OddReply(
            f"a reply without {lacking}, so not in OpenAI's protocol; the URL should end in /v1"
        )
    text = _text(cast("list[Any]", choices)[0], talks)
    tokens = cast("dict[str, Any]", usage).get("completion_tokens")
    if type(tokens) is not int:
        raise OddReply(
            f"usage.completion_tokens is {shown(repr(tokens), most=60)}; it must be a whole number"
        )
    if not bool(text) <= tokens <= most_tokens + _SLACK:
        raise OddReply(
            f"usage.completion_tokens is {shown(repr(tokens), most=60)} for a text of {len(text):,} "
            f"characters, and at most {most_tokens:,} were asked for; a server that does not heed "
            "max_tokens, or does not count, cannot be compared"
        )
    return text, tokens


def _text(choice: Any, talks: bool) -> str:
    where = "choices[0].message.content" if talks else "choices[0].text"
    if talks:
        choice = cast("dict[str, Any]", choice).get("message") if isinstance(choice, dict) else None
    name = "content" if talks else "text"
    if not isinstance(choice, dict) or name not in choice:
        raise OddReply(f"a reply without {where}, so not in OpenAI's protocol")
    text = cast("dict[str, Any]", choice)[name]
    if text is None and talks:  # a refusal, a call of a tool, thoughts alone
        return ""
    if not isinstance(text, str):
        raise OddReply(f"{where} is {shown(repr(text), most=60)}; it must be a text")
    return text


def _json(body: bytes) -> dict[str, Any]:
    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        found = json.loads(body.decode("utf-8-sig"), parse_constant=no_number)
    except UnicodeDecodeError as problem:
        raise OddReply(f"a reply that is no UTF-8 at byte {problem.start}") from None
    except (ValueError, RecursionError) as problem:
        began = shown(body[:200].decode("utf-8", "replace"), most=80)
        raise OddReply(f"a reply that is no JSON ({shown(str(problem), most=100)}): {began!r}") from None
    if not isinstance(found, dict):
        raise OddReply(f"a reply that is {type(found).__name__}, not an object of JSON")
    return cast("dict[str, Any]", found)
