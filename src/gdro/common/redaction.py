"""Secrets in texts and configurations, replaced by `***`: known ones in any form, and likely ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from gdro.common.secret_forms import HIDDEN, masked
from gdro.common.secret_names import is_secret, is_secret_parameter, secrets_of

_Change = str | Callable[[re.Match[str]], str]

_SLASHES = r"(?:\\{0,4}/){1,3}"
_QUOTE = r"(?:\\{0,4}[\"']|&(?:quot|apos|#0*3[49]|#[xX]2[27]);)"
# Long enough for any password; without a limit a hostile text takes time quadratic in its length.
_PASSWORD = "{0,512}+"
_NOTHING = frozenset(("none", "null", "true", "false", "nan", ""))


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """A text with `***` in place of secrets: given ones, those of the environment, and likely ones.

    Known secrets are hidden in the forms of `masked`. Likely secrets are `user:password@` in addresses,
    values of parameters, headers and settings that are named as secrets are, and texts that look like
    keys.

    >>> hidden("GET http://me:pw@h/?token=abc: no key sk-0123456789abcdef0123")
    'GET http://***@h/?token=***: no key ***'
    """
    text = masked(text, (*secrets, *secrets_of(os.environ)))
    for pattern, change in _PATTERNS:
        text = pattern.sub(change, text)
    return _without_settings(text)


def without_secrets(data: Any, above: str = "") -> Any:
    """JSON data of the option `above` with secret options, and secrets inside texts, hidden."""
    if isinstance(data, dict):
        named = cast("dict[str, Any]", data)
        # What is below `credentials` is secret too, by whatever name.
        return {k: without_secrets(v, above if is_secret(above) else str(k)) for k, v in named.items()}
    if isinstance(data, list):
        return [without_secrets(value, above) for value in cast("list[Any]", data)]
    if isinstance(data, bool) or data in (None, ""):
        return data
    if not isinstance(data, str):
        return HIDDEN if is_secret(above) else data
    return HIDDEN if is_secret(above) and "${" not in data else hidden(data)


def _parameter(match: re.Match[str]) -> str:
    before, name, equals = match["before"], match["name"], match["equals"]
    return f"{before}{name}{equals}{HIDDEN}" if is_secret_parameter(name) else match[0]


def _without_settings(text: str) -> str:
    """A text without values of secret names: `name=value`, `"name": "value"`, `--name value`."""
    parts: list[str] = []
    done = 0
    for match in _NAME.finditer(text):
        if match.start() < done or not is_secret(match["name"]):
            continue
        value = _VALUE.match(text, match.end())
        if value is not None and _is_value(value, after_space=text[match.end() - 1].isspace()):
            quote = value["quote"] or ""
            parts += [text[done : match.end()], quote, HIDDEN, quote]
            done = value.end()
    return "".join((*parts, text[done:]))


def _is_value(value: re.Match[str], after_space: bool) -> bool:
    """Whether it is no word of a sentence ("token: missing"), no placeholder and no "none"."""
    bare = value["bare"]
    if bare is not None and after_space and not re.search(r"\d|[a-z][A-Z]|[!@#$%^*+~?|]\w", bare):
        return False
    said = value["quoted"] if bare is None else bare
    word = re.sub(r"^\W+|\W+$", "", said).lower()
    return word not in _NOTHING and re.match(r"[^$<{\w]*\w", said) is not None


def _key(match: re.Match[str]) -> str:
    """Like a key, and not like words with hyphens: one part is long and mixes letters and digits."""
    parts = re.findall(r"[A-Za-z0-9]{10,}", match["body"])
    return HIDDEN if any(re.search(r"[\dA-Z]", part) for part in parts) else match[0]


def _credentials(match: re.Match[str]) -> str:
    """`Bearer` and `Basic` with what follows, unless that is a word: "basic arithmetic"."""
    value = match["value"]
    return f"{match['scheme']} {HIDDEN}" if _is_mixed(value) or value.endswith("=") else match[0]


def _is_mixed(text: str) -> bool:
    letters_and_digits = re.search(r"\d", text) and re.search(r"[A-Za-z]", text)
    return bool(letters_and_digits or re.search(r"[a-z][A-Z]|\w\.\w|^\d{10,}$", text))


_NAME = re.compile(
    rf"(?<![\w.-])(?P<name>(?P<dashes>--)?[\w.-]{{1,200}})"
    rf"(?:{_QUOTE}?\s{{0,2}}(?:=>|[:=])\s{{0,2}}|(?(dashes)\s{{1,2}}|(?!)))"
)
_VALUE = re.compile(
    rf"(?P<quote>{_QUOTE})(?P<quoted>.{{1,4096}}?)(?<!\\)(?P=quote)|(?P<bare>{_QUOTE}?[^\s\"'<>,;&\])}}]+)",
    re.S,
)
_PATTERNS: tuple[tuple[re.Pattern[str], _Change], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.S), HIDDEN),
    # user:password@ of an address; a password may hold '@', a quote, and one that is no port '/'.
    # One slash: a path has no two in a row.
    (re.compile(rf"(\w:{_SLASHES})(?:[^\s/'\"<>@]{_PASSWORD}@)+"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            rf"(\w:{_SLASHES}|(?<![\w:/])//)[^\s/:@?#\"<>]{_PASSWORD}:"
            rf"(?!\d{{1,5}}(?:[/?#'\"\s>,;)\]}}]|$))(?:[^\s<>@]{_PASSWORD}@(?=[\w\[%.@-]|[^\s<>@]{_PASSWORD}@))+"
        ),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(r"(\w%3A(?:%2F){1,3})(?:(?!%2F)[^\s/'\"<>&]){1,512}%40", re.I), rf"\1{HIDDEN}%40"),
    (
        re.compile(
            r"(?P<before>[?&;#]|%(?:25)*(?:3F|26|23))(?P<name>[\w.~\[\]-]{1,100})(?P<equals>=|%(?:25)*3D)"
            # Not the mark that ends a clause: "?token=abc: no such page".
            r"(?=[^\s\w&]{0,40}\w)(?:(?!%(?:25)*26|[:,.](?:\s|$))[^&\s#'\"<>;`])+",
            re.I,
        ),
        _parameter,
    ),
    (
        re.compile(
            r"\b((?:proxy-)?authorization\W{1,12}(?:basic|bearer|token|digest|negotiate|(?:api-?)?key)\s+)"
            r"[^\s\"',&]+",
            re.I,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            r"\b((?:set-)?cookie\W{1,12})[\w.-]{1,100}=[^\s;,\"']+(?:;\s*[\w.-]{1,100}=[^\s;,\"']+)*",
            re.I,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(?P<scheme>Bearer|Basic)\s+(?P<value>[\w.~+/=-]{4,})", re.I), _credentials),
    (re.compile(r"(https?://hooks\.slack\.com/\w+/)[\w/]+"), rf"\1{HIDDEN}"),
    # A JSON web token: its first part is an object, `{"`.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}"), HIDDEN),
    (
        re.compile(
            r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[a-z]-[\w-]{10,}"
            r"|\bxapp-[\w-]{10,}|\bAIza[\w-]{30,}|\bglpat-[\w-]{16,}|\bnvapi-[\w-]{16,}|\bya29\.[\w-]{16,}"
            r"|\bSG\.[\w-]{16,}\.[\w-]{16,}"
        ),
        HIDDEN,
    ),
    (
        re.compile(
            r"\b(?:(?:sk|pk|rk|csk|pypi|pplx|xai|tgp|shpat|shpss|dckr_pat|lsv2|dop_v1|whsec)[-_]"
            r"|(?:hf|gsk|npm|r8|fw|glsa)_)(?P<body>[\w-]{16,})"
        ),
        _key,
    ),
)
