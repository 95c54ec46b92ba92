"""Untrusted texts in messages, files and terminals: no secrets, no control characters, truncated."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from gdro.common.redaction import hidden

SHOWN = 300
_LONG = 20_000  # characters of a text that are looked at for a message
_TAIL = 1_024  # longer than any key: what a cut may have left of one

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]")


def plain(text: str) -> str:
    """A text without escape sequences and control characters; line breaks become newlines."""
    return "".join(c if c == "\n" else _plain(c) for c in _ESCAPES.sub("", text))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Zl", "Zp") or character in "\r\v\f\x1c\x1d\x1e\x85":
        return "\n"
    if character in "\t\x1f":
        return " "
    return "" if kind in ("Cc", "Cf") else "\N{REPLACEMENT CHARACTER}" if kind == "Cs" else character


def shown(text: str, secrets: Iterable[str] = (), most: int = SHOWN) -> str:
    """Quote of an untrusted text for a message: one line of at most `most` characters, no secrets.

    >>> shown("\\x1b[31mno\\nkey sk-0123456789abcdef0123 for https://me:pw@host/v1")
    'no key *** for https://***@host/v1'
    """
    looked = text if len(text) <= _LONG else text[: _LONG - _TAIL]
    line = " ".join(hidden(plain(looked), secrets).split())
    return line if len(line) <= most and looked == text else line[: most - 1] + "…"


def printable(text: str) -> str:
    r"""A text with its unprintable characters escaped, so that it can be encoded and moves no cursor.

    Newlines stay. Control characters, marks of writing direction and lone surrogates become `\x1b`,
    `\u202e`, `\ud800`.

    >>> print(printable("a\x1b[31mred"))
    a\x1b[31mred
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # Spaces of other scripts are not printable to Python, and harmless.
    return " " if character.isspace() and ord(character) > 0x7F else ascii(character)[1:-1]
