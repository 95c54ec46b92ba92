"""Texts of strangers on a terminal: names, keys and messages that hold more than they show."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text that moves no cursor, sets no colour and can be encoded: what is not printable is escaped.

    Newlines stay. Control characters, the marks that turn the direction of writing, and halves of
    characters become `\x1b`, `\u202e`, `\ud800`.

    >>> print(printable("a\x1b[31mred"))
    a\x1b[31mred
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """The same on one line."""
    return printable(text).replace("\n", " ")


def _escaped(character: str) -> str:
    # Spaces of other scripts are not printable to Python, and harmless.
    return " " if character.isspace() and ord(character) > 0x7F else ascii(character)[1:-1]
