"""Messages between a verifier and its workers: a length and JSON, never pickle."""

from __future__ import annotations

import json
import time
from typing import IO, Any

# Verdicts are hundredths of a score, or one of the last three. The first of them is the machine's doing:
# no process could be started to judge in.
WRONG, RIGHT, UNFORKED, TOO_SLOW, CRASHED = 0, 100, 253, 254, 255
Item = tuple[str, str]

_STOOD_STILL_S = 1.0


def late(start: float, wait_s: float) -> float:
    """Seconds by which a wait was late, if it was by more than one: this process stood still itself.

    Args:
        start: When it began, by `time.monotonic`.
        wait_s: The most that it should have taken.
    """
    over = time.monotonic() - start - wait_s
    return over if over > _STOOD_STILL_S else 0.0


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message.

    Lone surrogates, which a model may write, pass: JSON escapes all that is not ASCII.
    """
    body = json.dumps(message).encode("ascii")
    rest = memoryview(len(body).to_bytes(8, "big") + body)
    while rest:  # an unbuffered stream may take a part
        rest = rest[stream.write(rest) :]
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message, waiting for it; None at the end of the stream."""
    head = _read(stream, 8)
    body = None if head is None else _read(stream, int.from_bytes(head, "big"))
    return None if body is None else json.loads(body)


def _read(stream: IO[bytes], size: int) -> bytes | None:
    """So many bytes, of which an unbuffered stream may give a part at a time; None at its end."""
    got = bytearray()
    while len(got) < size:
        part = stream.read(size - len(got))
        if not part:
            return None
        got += part
    return bytes(got)
