"""Messages between a verifier and its workers: a length and JSON, never pickle."""

from __future__ import annotations

import json
from typing import IO, Any

# Verdicts are hundredths of a score, or one of the last two.
WRONG, RIGHT, TOO_SLOW, CRASHED = 0, 100, 254, 255
Item = tuple[str, str]


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message.

    Lone surrogates, which a model may write, pass: JSON escapes all that is not ASCII.
    """
    body = json.dumps(message).encode("ascii")
    stream.write(len(body).to_bytes(8, "big") + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message, waiting for it; None at the end of the stream."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "big")
    body = stream.read(size)
    return json.loads(body) if len(body) == size else None
