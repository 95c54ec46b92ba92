"""Untrusted texts on a terminal: names, keys and messages with characters that are not printable."""

from __future__ import annotations


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


def one_line(text: str) -> str:
    """As `printable`, on one line."""
    return printable(text).replace("\n", " ")


def _escaped(character: str) -> str:
    # Spaces of other scripts are not printable to Python, and harmless.
    return " " if character.isspace() and ord(character) > 0x7F else ascii(character)[1:-1]
