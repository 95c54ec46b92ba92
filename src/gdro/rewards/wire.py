"""Messages between a verifier and its workers: a length and JSON, never pickle."""

from __future__ import annotations

import json
import time
from typing import IO, Any

# Verdicts are hundredths of a score, or one of the last three. UNFORKED is a failure of the machine: no
# process could be started to grade in.
WRONG, RIGHT, UNFORKED, TOO_SLOW, CRASHED = 0, 100, 253, 254, 255
Item = tuple[str, str]

_STOOD_STILL_S = 1.0


def late(start: float, wait_s: float) -> float:
    """Seconds by which a wait exceeded its limit `wait_s`, if more than one: this process was stopped.

    `start` is the beginning of the wait, by `time.monotonic`.
    """
    over = time.monotonic() - start - wait_s
    return over if over > _STOOD_STILL_S else 0.0


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message, in ASCII, so that lone surrogates, which models may write, pass."""
    body = json.dumps(message).encode("ascii")
    rest = memoryview(len(body).to_bytes(8, "big") + body)
    while rest:  # an unbuffered stream may write only a part
        rest = rest[stream.write(rest) :]
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message, waiting for it; None at the end of the stream."""
    head = _read(stream, 8)
    body = None if head is None else _read(stream, int.from_bytes(head, "big"))
    return None if body is None else json.loads(body)


def _read(stream: IO[bytes], size: int) -> bytes | None:
    """Exactly `size` bytes, in parts if the stream is unbuffered; None at its end."""
    got = bytearray()
    while len(got) < size:
        part = stream.read(size - len(got))
        if not part:
            return None
        got += part
    return bytes(got)
