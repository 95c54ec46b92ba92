"""Sets of real numbers in one notation: inequalities, set-builders and foreign brackets as intervals."""

from __future__ import annotations

import re
from math import inf, isnan, nan, pi, sqrt

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


def as_one_kind(gold: str, answer: str) -> tuple[str, str] | None:
    r"""Both as intervals where one is an inequality and the other an interval; else as they are.

    (2,3) may be a point or an interval, so that both forms of answers fit it. A set, a list, a point
    whose coordinates have names and an interval are different, as are a point and alternatives.

    Two inequalities are left to math-verify, which looks at their letters.

    Returns:
        Both, or None if they cannot be equal.

    >>> as_one_kind("(2,3)", "2 < x < 3"), as_one_kind("(2,3)", r"P(2,3)")
    (('(2,3)', '(2,3)'), ('(2,3)', '(2,3)'))
    >>> as_one_kind("(2,3)", r"\{2,3\}"), as_one_kind("(x,y)=(2,3)", "2 < x < 3")
    (None, None)
    """
    one, other = as_intervals(gold), as_intervals(answer)
    both = one != gold and other != answer and _RELATION.search(gold) and _RELATION.search(answer)
    if both:
        return gold, answer
    for text, given, interval in ((gold, answer, other), (answer, gold, one)):
        pair = _PAIR.fullmatch(text)
        changed = interval.startswith(("(", "[")) and "".join(interval.split()) != "".join(given.split())
        if changed and (_is_no_interval(text) or (pair is not None and not _increases(interval))):
            return None
        if pair is not None and _ALTERNATIVES.search(given):
            return None
    if {bool(_PAIR.fullmatch(text)) for text in (one, other)} == {True, False}:
        if _SET.fullmatch(one) or _SET.fullmatch(other):
            return None
        one, other = _POINT.sub("", one), _POINT.sub("", other)
    return one, other


_PAIR = re.compile(r"\((?:[^(),]|\([^()]*\))+(?:,(?:[^(),]|\([^()]*\))+)+\)")
_SET = re.compile(r"(?:[a-z]\s*\\in\s*)?\\\{[^{}|:]*,[^{}|:]*\\\}")
_POINT = re.compile(r"^[A-Z]'?\s*(?=\([^()]*\)$)")  # its name
_ALTERNATIVES = re.compile(r"\bor\b")
_ENDS = re.compile(r"[(\[]([^()\[\],]+),([^()\[\],]+)[)\]]")
_AMOUNT = re.compile(
    r"(?P<sign>-?)\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)?\s*(?P<constant>\\pi|\\sqrt\{[0-9]+\}|\\infty)?"
    r"|\\[dt]?frac\{(?P<over>[^{}]+)\}\{(?P<under>[^{}]+)\})(?:/(?P<part>[0-9]+))?"
)


def _is_no_interval(text: str) -> bool:
    """Whether a text is a set, a list, or has names for the coordinates of a point."""
    if _SET.fullmatch(text) or re.search(r"\)\s*=|=.*[^<>]=", text):
        return True
    return "," in text and not _RELATION.search(text) and not re.search(r"[()\[\]]", text)


def _increases(interval: str) -> bool:
    """Whether an interval's ends increase, as far as they are known."""
    ends = _ENDS.fullmatch(interval)
    return ends is None or not _amount(ends[1]) >= _amount(ends[2])


def _amount(text: str) -> float:
    """The value of a number with pi, a root or a fraction; nan of anything else."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or not text.strip(" -"):
        return nan
    if match["over"]:
        value = _amount(match["over"]) / (_amount(match["under"]) or nan)
    else:
        constant = match["constant"] or ""
        root = sqrt(int(constant[6:-1])) if constant.startswith("\\sqrt") and len(constant) < 20 else nan
        known = {"": 1.0, "\\pi": pi, "\\infty": inf}
        value = float(match["number"] or 1) * known.get(constant, root)
    value = -value if match["sign"] else value
    return value if isnan(value) or not match["part"] else value / (int(match["part"]) or nan)


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
