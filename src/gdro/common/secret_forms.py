"""Known secrets, hidden in each form in which other programs write them."""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import AnyStr

from gdro.common.secret_names import SHORT

HIDDEN = "***"
# Headers and mails fold lines anywhere; line breaks may be written out, as `\r\n`.
_BREAK = r"(?:[\r\n]|\\{1,4}[rn])"
_CODED = re.compile(
    rf"(?P<fold>[ \t]{{0,80}}{_BREAK}(?:[ \t]|\\{{1,4}}t|{_BREAK}){{0,80}}+)"
    r"|%(?:25)*(?P<byte>[0-9a-fA-F]{2})"
    r"|&(?:amp;)*(?P<entity>#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-z]{2,6}(?=;)|(?:amp|[lg]t|quot));?"
    r"|(?P<pair>\\{1,4}u[dD][89abAB][0-9a-fA-F]{2}\\{1,4}u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|\\{1,4}(?:u(?P<four>[0-9a-fA-F]{4})|x(?P<two>[0-9a-fA-F]{2})|(?P<mark>[\"'/\\`]))"
)

_LATER_BYTES = bytes(range(0x80, 0xC0))  # of a character that takes several in UTF-8


def masked(text: str, secrets: Iterable[str]) -> str:
    """A text without the given secrets, in whatever form they were written.

    A form is plain, percent-encoded, escaped for HTML, JSON or Python, in base64, or folded over lines;
    each character may have another. A secret of less than 8 characters is hidden where it is a word.

    >>> masked("?k=a%2fb-12345&amp;, a&#x2f;b-12\\n 345 and a/b", ["a/b-12345"])
    '?k=***&amp;, *** and a/b'
    """
    given = [secret for secret in secrets if secret]
    if not given:
        return text
    decoded = _Decoded(text)
    spans = [span for secret in given for span in _spans(text, decoded, secret)]
    parts: list[str] = []
    done = 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], HIDDEN]
        done = max(done, end)
    return "".join((*parts, text[done:]))


def _spans(text: str, decoded: _Decoded, secret: str) -> Iterator[tuple[int, int]]:
    """Places of a secret in a text."""
    # Escapes beside a backslash of the secret cannot be read one by one.
    for form in {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret)}:
        for at in _places(text, form):
            yield from _whole(text, at, at + len(form), secret)
    for needle in _needles(secret):
        for at in _places(decoded.data, needle):
            start, end = decoded.place(at)[0], decoded.place(at + len(needle) - 1)[1]
            yield from _whole(text, start, end, secret)


def _places(text: AnyStr, part: AnyStr) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + len(part))


def _whole(text: str, start: int, end: int, secret: str) -> Iterator[tuple[int, int]]:
    """A span, unless a short secret is a part of a word there."""
    around = text[max(0, start - 1) : start], text[end : end + 1]
    if len(secret) >= SHORT or not any(side.isalnum() for side in around):
        yield start, end


def _needles(secret: str) -> set[bytes]:
    """Bytes of a secret that `_Decoded` may hold: as it is, decoded too, and in base64."""
    raw, decoded = _bytes(secret), _Decoded(secret).data
    needles = {raw, raw.replace(b" ", b"+"), decoded if len(secret) >= SHORT else raw}
    for shift in range(3 if len(secret) >= SHORT else 1):
        coded = base64.b64encode(bytes(shift) + raw).rstrip(b"=")
        # Without the characters that what is around it changes.
        core = coded[
            -(-shift * 8 // 6) : -1 if (shift + len(raw)) % 3 and len(secret) >= SHORT else None
        ]
        needles |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return {needle for needle in needles if len(needle) >= min(4, len(raw))}


class _Decoded:
    """The bytes that a text stands for, with the place in the text where each was written."""

    def __init__(self, text: str) -> None:
        units: list[tuple[bytes, int, int]] = []
        done = 0
        for match in _CODED.finditer(text):
            units += ((_bytes(text[done : match.start()]), done, -1), (_meant(match), *match.span()))
            done = match.end()
        self._units = [*units, (_bytes(text[done:]), done, -1)]
        self.data = b"".join(raw for raw, _, _ in self._units)
        self._ends = list(accumulate(len(raw) for raw, _, _ in self._units))

    def place(self, at: int) -> tuple[int, int]:
        """Start and end in the text of the byte `at`."""
        unit = bisect_right(self._ends, at)
        raw, start, end = self._units[unit]
        if end >= 0:
            return start, end
        inside = at - self._ends[unit] + len(raw)
        after = start + len(raw[: inside + 1].translate(None, _LATER_BYTES))
        return after - 1, after


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _meant(match: re.Match[str]) -> bytes:
    """What a coded character stands for; a fold stands for nothing."""
    kind, said = match.lastgroup, match[0]
    if kind == "fold":
        return b""
    if kind == "byte":
        return bytes.fromhex(match["byte"])
    if kind == "entity":
        meant = html.unescape(f"&{match['entity']};")
        return _bytes(meant if len(meant) == 1 else said)
    if kind == "pair":
        high, low = (int(part, 16) for part in re.findall(r"u(....)", said))
        return _bytes(chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)))
    if kind == "mark":
        return _bytes(match["mark"])
    return _bytes(chr(int(match["four"] or match["two"], 16)))
