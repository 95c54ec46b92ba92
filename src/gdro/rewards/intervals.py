"""Sets of real numbers in one notation: inequalities, set-builders and foreign brackets as intervals."""

from __future__ import annotations

import re

from gdro.rewards.extract import LONGEST

_LESS = {"<": False, "\\lt": False, "\\le": True, "\\leq": True, "\\leqslant": True, "<=": True}
_MORE = {">": False, "\\gt": False, "\\ge": True, "\\geq": True, "\\geqslant": True, ">=": True}
_SIGN = r"(<=|>=|<|>|\\(?:leqslant|geqslant|leq|geq|le|ge|lt|gt)(?![A-Za-z]))"
_RELATION = re.compile(r"[<>]|\\(?:neq?|leq?|geq?|lt|gt|leqslant|geqslant)(?![A-Za-z])")
_VALUE = re.compile(r"[0-9]|\\(?:infty|pi|sqrt|frac)")
_NOT = re.compile(r"([a-z])\s*\\neq?(?![A-Za-z])\s*([^<>=]+)")
_TWO = re.compile(rf"(.+?)\s*{_SIGN}\s*([a-z])\s*{_SIGN}\s*(.+)")
_ONE = re.compile(rf"([a-z])\s*{_SIGN}\s*([^,]+)")
_OTHER = re.compile(rf"(.+?)\s*{_SIGN}\s*([a-z])")
_BUILT = re.compile(r"\\\{\s*([a-z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?(?:\\mid|\||:)\s*(.+?)\s*\\\}")
_MEMBER = re.compile(r"[a-z]\s*\\in\s*(.+)")
_FOREIGN = re.compile(r"([\](\[])([^()\[\],;]+)[,;]([^()\[\],;]+)([\])\[])")
_REALS = re.compile(
    r"(?:\\text\s*\{\s*)?(?:all|the|set of|every)?\s*(?:all\s+)?real(?:s| numbers?)?(?:\s*\})?"
    r"|\\mathbb\s*\{?R\}?",
    re.IGNORECASE,
)


def as_intervals(text: str) -> str:
    r"""A set of real numbers as a union of intervals; any other text as it is.

    >>> as_intervals("0 < x < 7.5"), as_intervals(r"x \neq 2"), as_intervals("]0,1[")
    ('(0,7.5)', '(-\\infty,2)\\cup(2,\\infty)', '(0,1)')
    >>> as_intervals("x<-4 or x>1"), as_intervals(r"\{ x \mid x > 3 \}"), as_intervals("y = 3")
    ('(-\\infty,-4)\\cup(1,\\infty)', '(3,\\infty)', 'y = 3')
    """
    text = " ".join(text.split())
    if len(text) > LONGEST:
        return text
    built, member = _BUILT.fullmatch(text), _MEMBER.fullmatch(text)
    if built is not None:
        return as_intervals(built[2])
    if member is not None:
        text = member[1].strip()
    if _REALS.fullmatch(text):
        return "(-\\infty,\\infty)"
    parts = [_interval(part.strip()) for part in re.split(r"\s+or\s+|\\lor(?![A-Za-z])|\\cup", text)]
    if any(part is None for part in parts):
        return text
    return "\\cup".join(part for part in parts if part)


def as_one_kind(gold: str, answer: str) -> tuple[str, str]:
    """Both as intervals where one is an inequality and the other an interval; else as they are.

    Two inequalities are left to math-verify, which looks at their letters.
    """
    one, other = as_intervals(gold), as_intervals(answer)
    both = one != gold and other != answer and _RELATION.search(gold) and _RELATION.search(answer)
    return (gold, answer) if both else (one, other)


def _interval(text: str) -> str | None:
    """One inequality, or one interval in any brackets; None for anything else."""
    foreign = _FOREIGN.fullmatch(text)
    if foreign is not None:
        left = "[" if foreign[1] == "[" else "("
        right = "]" if foreign[4] == "]" else ")"
        # (a;b) and ]a,b[ are intervals; (a,b) may be a point, and stays what it is.
        return f"{left}{foreign[2].strip()},{foreign[3].strip()}{right}"
    other = _NOT.fullmatch(text)
    if other is not None:
        value = other[2].strip()
        return f"(-\\infty,{value})\\cup({value},\\infty)"
    two = _TWO.fullmatch(text)
    if two is not None and _VALUE.search(two[1]) and _VALUE.search(two[5]):
        return _between(two[1], two[2], two[4], two[5])
    one = _ONE.fullmatch(text)
    if one is not None and _VALUE.search(one[3]):
        return _half(one[2], one[3])
    turned = _OTHER.fullmatch(text)
    if turned is not None and _VALUE.search(turned[1]):
        return _half(_turned(turned[2]), turned[1])
    return None


def _turned(sign: str) -> str:
    closed = {**_LESS, **_MORE}[sign]
    return ("\\ge" if closed else ">") if sign in _LESS else ("\\le" if closed else "<")


def _half(sign: str, bound: str) -> str:
    bound = bound.strip()
    if sign in _LESS:
        return f"(-\\infty,{bound}{']' if _LESS[sign] else ')'}"
    return f"{'[' if _MORE[sign] else '('}{bound},\\infty)"


def _between(low: str, first: str, second: str, high: str) -> str | None:
    if first in _MORE and second in _MORE:
        low, first, second, high = high, _turned(second), _turned(first), low
    if first not in _LESS or second not in _LESS:
        return None
    left, right = "[" if _LESS[first] else "(", "]" if _LESS[second] else ")"
    return f"{left}{low.strip()},{high.strip()}{right}"
