"""Untrusted texts in messages, files and terminals: no secrets, no control characters, truncated."""

from __future__ import annotations

import base64
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import quote

HIDDEN = "***"
SHOWN = 300
_LONG = 20_000  # characters of a text that are looked at for a message
_TAIL = 1_024  # longer than any key: what a cut may have left of one
SHORT = 8  # shorter values of variables are words such as "none", which messages need

_NAMED = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)
# Options of a recipe that hold a secret; `eos_token`, `max_tokens` and the like do not.
_OPTION = re.compile(
    r"(^|[_.-])((hub|hf|api|access|auth|bearer|wandb|refresh|private)[_-]?(token|key)|apikey|secret(_?key)?"
    r"|passw(or)?d|passphrase|credentials?)$|^token$",
    re.IGNORECASE,
)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]")
_PATTERNS = (
    # user:password@ of an address; a password may hold '@', and one that is no port '/'.
    # One slash: a path has no two in a row.
    (re.compile(r"(\w:/{1,3})[^\s/'\"<>]*@"), rf"\1{HIDDEN}@"),
    (
        re.compile(r"(\w:/{1,3})[^\s/:@?#'\"<>]*:(?!\d{1,5}(?:[/?#'\"\s]|$))[^\s'\"<>]*@"),
        rf"\1{HIDDEN}@",
    ),
    (
        re.compile(
            r"([?&;][\w-]*(?:key|token|secret|password|passwd|signature|sig)=)[^&\s#'\"<>]+", re.I
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{4,}", re.I), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"\b(?:sk|pk|rk)-[\w-]{16,}|\bhf_\w{16,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}"
            r"|\bAKIA[0-9A-Z]{16}\b|\bxox[a-z]-[\w-]{10,}|\bAIza[\w-]{30,}"
        ),
        HIDDEN,
    ),
)


def is_secret(option: str) -> bool:
    """Whether an option of this name holds a secret.

    >>> [is_secret(name) for name in ("hub_token", "task_options.api_key", "eos_token", "max_tokens")]
    [True, True, False, False]
    """
    return _OPTION.search(option) is not None


def names_secret(text: str) -> bool:
    """Whether a text names a variable as secrets are named.

    >>> [names_secret(text) for text in ("${oc.env:HF_TOKEN}", "${oc.env:MODEL}")]
    [True, False]
    """
    return _NAMED.search(text) is not None


def secrets_of(environment: Mapping[str, str] | None = None) -> list[str]:
    """Values of variables that are named as secrets are, the longest first."""
    given = os.environ if environment is None else environment
    values = {v.strip() for name, v in given.items() if _NAMED.search(name) and len(v.strip()) >= SHORT}
    return sorted(values, key=len, reverse=True)


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """A text with `***` in place of secrets: given ones, those of the environment, and likely ones.

    Known secrets are hidden in the forms of `masked`; likely secrets are `user:password@` in addresses
    and texts that look like keys.
    """
    text = masked(text, (*secrets, *secrets_of()))
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def masked(text: str, secrets: Iterable[str]) -> str:
    """A text without the given secrets, also as JSON, addresses and headers write them."""
    for secret in secrets:
        for form in _forms(secret):
            text = text.replace(form, HIDDEN)
    return text


def _forms(secret: str) -> list[str]:
    coded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    forms = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        quote(secret, safe="", errors="replace"),
    }
    return sorted({*forms, coded} - {""}, key=len, reverse=True)


def plain(text: str) -> str:
    """A text without escape sequences and control characters; line breaks stay."""
    return "".join(c if c == "\n" else _plain(c) for c in _ESCAPES.sub("", text))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Zl", "Zp") or character in "\t\r\v\f\x1c\x1d\x1e\x1f\x85":
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


def without_secrets(data: Any, above: str = "") -> Any:
    """JSON data of the option `above` with secret options, and secrets inside texts, hidden."""
    if isinstance(data, dict):
        named = cast("dict[str, Any]", data)
        return {key: without_secrets(value, str(key)) for key, value in named.items()}
    if isinstance(data, list):
        return [without_secrets(value, above) for value in cast("list[Any]", data)]
    if not isinstance(data, str):
        return data
    return HIDDEN if data and is_secret(above) and "${" not in data else hidden(data)


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
