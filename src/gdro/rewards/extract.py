"""Extract the answer from a completion, as text; nothing is parsed as mathematics here."""

from __future__ import annotations

import re
from collections.abc import Callable

TAIL = 10_000  # characters at the end of a completion that are searched for an answer
LONGEST = 1_000  # most characters of an answer

_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_HASH = re.compile(r"####[ \t]*([^\n]+)")
_SAID = re.compile(
    r"(?:final\s+answer\s+is|the\s+answer\s+is|answer\s*:)[ \t]*:?[ \t]*([^\n]+)", re.IGNORECASE
)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?")
_BOX = r"\\(?:boxed|fbox)\s*\{"
_BOXED = re.compile(_BOX)
# A box, another escape (its letter is skipped, unless a box starts there), or a brace.
_BRACES = re.compile(rf"{_BOX}|\\(?!{_BOX})[\s\S]|[{{}}]")


def answer_of(completion: str) -> str | None:
    """Extract the answer of a completion.

    The first of these forms that occurs is used, and of it the last occurrence: `\\boxed{...}`;
    `<answer>...</answer>`; `#### ...` (GSM8K); the rest of a line after "answer is" or "Answer:"; a
    number. Text in a tag or after words may itself be boxed or between dollar signs.

    Args:
        completion: Text of the model; only its last 10,000 characters are searched.

    Returns:
        The answer, or None if there is none or it is longer than 1,000 characters.

    >>> answer_of("so x = 3, and the answer is $\\\\frac{1}{2}$.")
    '\\\\frac{1}{2}'
    >>> answer_of("<answer>12</answer> or \\\\boxed{13}")
    '13'
    """
    tail = completion[-TAIL:]
    for rule in RULES:
        text = rule(tail)
        if text is not None:
            answer = plain(text)
            return answer if 0 < len(answer) <= LONGEST else None
    return None


def plain(answer: str) -> str:
    """An answer without surrounding spaces, dollar signs and box, and without a final full stop."""
    text = answer.strip()
    for _ in range(4):  # at most two layers of each, in any order
        start = text
        text = text.removesuffix(".").rstrip()
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right) - 1:
                text = text[len(left) : len(text) - len(right)].strip()
        box, inner = _BOXED.match(text), last_boxed(text)
        if box is not None and inner is not None and box.end() + len(inner) + 1 == len(text):
            text = inner.strip()
        if text == start:
            break
    return text


def last_boxed(text: str) -> str | None:
    """Content of the last `\\boxed{...}` that closes; escaped braces are not counted."""
    opened: list[int | None] = []  # for each open brace: start of the content of a box, or None
    last: tuple[int, int] | None = None
    for token in _BRACES.finditer(text):  # one pass, however deeply nested
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None and (last is None or start > last[0]):
                last = start, token.start()
        elif token[0][-1] == "{" and token[0] != "\\{":
            opened.append(token.end() if len(token[0]) > 1 else None)
    return None if last is None else text[slice(*last)]


def _last(pattern: re.Pattern[str], group: int) -> Callable[[str], str | None]:
    def rule(text: str) -> str | None:
        last = None
        for match in pattern.finditer(text):
            last = match.group(group)
        return last

    return rule


RULES: tuple[Callable[[str], str | None], ...] = (
    last_boxed,
    _last(_TAG, 1),
    _last(_HASH, 1),
    _last(_SAID, 1),
    _last(_NUMBER, 0),
)
