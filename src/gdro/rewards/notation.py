"""One notation for one answer: symbols, decoration and number formats that verifiers read differently.

Text only: nothing is parsed as mathematics here, and a text that no rule knows stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from math import comb, perm

from gdro.rewards.extract import LONGEST

_SYMBOLS = {
    **dict.fromkeys("−–—‐‑﹣－", "-"),
    **dict.fromkeys("×✕", "\\times "),
    **dict.fromkeys("·⋅", "\\cdot "),
    "÷": "\\div ",
    "±": "\\pm ",
    "≤": "\\le ",
    "≥": "\\ge ",
    "≠": "\\ne ",
    "≈": "\\approx ",
    "∞": "\\infty ",
    "π": "\\pi ",
    "θ": "\\theta ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∈": "\\in ",
    "∅": "\\emptyset ",
    "ℝ": "\\mathbb{R}",
    "°": "^\\circ ",
    "⟨": "\\langle ",
    "⟩": "\\rangle ",
    "。": ".",
    "、": ",",
    "…": "\\ldots ",
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n", strict=True))
_ROOT = re.compile(r"([√∛])\s*(?:\(([^()]*)\)|\{([^{}]*)\}|([0-9]+(?:\.[0-9]+)?|[A-Za-z]))")
_DECORATION = r"boldsymbol|bm|pmb|mathbf|mathsf|mathit|mathnormal|underline|hat|vec|ensuremath"
_UPRIGHT = re.compile(r"\\(?:mathrm|operatorname\*?)\s*\{([A-Za-z]|[^{}]*[0-9][^{}]*)\}")
_WORDED = re.compile(r"\\(?:textbf|textit|emph)\s*\{([^{}]*)\}")
_DECORATED = re.compile(rf"\\(?:{_DECORATION})\s*\{{([^{{}}]*)\}}")
_COLOURED = re.compile(r"\\(?:textcolor|colorbox)\s*\{[^{}]*\}\s*\{([^{}]*)\}|\\color\s*\{[^{}]*\}")
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:! ]|quad|qquad|thinspace|displaystyle|textstyle)|~|(?<!\\)\\$")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_THOUSANDS = re.compile(
    r"(?<![0-9.,])[0-9]{1,3}(?:(?:\\[,! ]|\{,\}|,\\!|\u2009|\u202f|\u00a0)[0-9]{3})+(?![0-9])"
)
_SPACED = re.compile(r"-?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")
_SCIENTIFIC = re.compile(r"(?<![A-Za-z0-9\\.])(-?[0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]+)(?![A-Za-z0-9.])")
_REPEATING = re.compile(
    r"(-?)([0-9]+)\.([0-9]*)(?:\\overline\s*\{([0-9]+)\}|\\dot\s*\{?([0-9])\}?|\(([0-9]+)\))(?:\\ldots)?"
)
_MIXED = re.compile(r"(-?)([0-9]+)\s+(?:([0-9]+)\s*/\s*([0-9]+)|\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\})")
_BASE = re.compile(r"([0-9A-Za-z]+)_\{?\s*(?:\\text\s*\{)?\(?([A-Za-z]+|[0-9]+)\)?\}?\s*\}?")
_BASES = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9},
    **{"ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16},
}
_MOST_COUNTED = 200
_RANGE = re.compile(r"([0-9])\s*[–—]\s*([0-9])")  # no minus
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_COUNTED = re.compile(r"(?:\{\})?_\{?([0-9]{1,4})\}?\s*([PC])_\{?([0-9]{1,4})\}?")
_CHOICE = re.compile(r"([A-J])|\(([A-J])\)(?:\s*[^A-J=+<>]*)|([A-J])[.:)]\s+[^A-J=+<>]*")
_LETTER = re.compile(r"\(?([A-J])\)?[.:]?")
# The word before a number; as an adjective it is no operation: "negative 12" is -12, "5 minus 12" -7.
_VALUE = r"(?=(?:\\?\$)?(?:[0-9]|\.[0-9]|\\[dt]?frac|\\sqrt|\\pi|\\infty))"
_SIGN_WORD = re.compile(
    rf"(?<![\w-])(?:\\text\s*\{{\s*)?(negative|minus|positive)\b\s*\}}?[\s*$~]*{_VALUE}", re.IGNORECASE
)
_AND = re.compile(r"(?:and|or|is|to)\s*\}?\s*$")
_OPERAND = re.compile(r"[0-9A-Za-z)}\]]\s*$")
_NAMES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"\\log_\{?e\}?(?![A-Za-z])"), r"\\ln "),
    (re.compile(r"\\langle(?![A-Za-z])"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])"), ")"),
    (re.compile(r"\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?=[\[\](){}|.\\])"), ""),
    (re.compile(r"\\text\s*\{\s*(i|e|or|and)\s*\}"), r" \1 "),
    (re.compile(r"\\%|%"), r"\\%"),
)


def notation(text: str) -> str:
    r"""An answer in the one notation that is compared.

    >>> notation("½"), notation(r"\boldsymbol{8}"), notation("3.2e5"), notation("12 345")
    ('\\frac{1}{2}', '8', '3.2 \\times 10^{5}', '12345')
    >>> notation("negative 12"), notation("x = minus \\frac{3}{2}")
    ('-12', 'x = -\\frac{3}{2}')
    >>> notation("2 1/4"), notation(r"0.\overline{36}"), notation("e-7")
    ('\\frac{9}{4}', '\\frac{4}{11}', 'e-7')
    """
    if len(text) > LONGEST:
        return text
    text = _plain_letters(_RANGE.sub(r"\1 to \2", " ".join(text.split())))
    text = _SIGN_WORD.sub(_sign, text) if "tive" in text or "inus" in text else text
    text = _THOUSANDS.sub(lambda m: re.sub(r"\D", "", m[0]), text)
    text = _SPACES.sub(" ", _undecorated(text))
    for pattern, replacement in _NAMES:
        text = pattern.sub(replacement, text)
    text = text.strip(" ,;").removesuffix(".").strip()
    if "\\{" not in text:
        text = text.removesuffix("\\}")
    for rule in _WHOLE:
        text = rule(text)
    return _SCIENTIFIC.sub(lambda m: f"{m[1]} \\times 10^{{{int(m[2])}}}", text)


def choice(gold: str, answer: str) -> bool | None:
    """Whether an answer names the letter that the gold is; None where the gold is no single letter.

    >>> choice("C", r"(C)\\ 14"), choice("(C)", "D"), choice("12", "C")
    (True, False, None)
    """
    letter = _LETTER.fullmatch(_TEXT.sub(r"\1", gold).strip())
    given = _CHOICE.fullmatch(_TEXT.sub(r"\1", answer).strip())
    if letter is None or (given is None and len(answer) > 1):
        return None
    return given is not None and letter[1] in given.groups()


def in_base(text: str) -> tuple[int, int] | None:
    r"""The value and base of a number such as `1101_2`, None for anything else.

    >>> in_base("1101_2"), in_base(r"2516_{\text{eight}}"), in_base("x_2")
    ((13, 2), (1358, 8), None)
    """
    match = _BASE.fullmatch(text.strip())
    if match is None:
        return None
    base = _BASES.get(match[2].lower(), int(match[2]) if match[2].isdigit() else 0)
    if not 2 <= base <= 36 or not match[1][0].isdigit():
        return None
    try:
        return int(match[1], base), base
    except ValueError:
        return None


def _plain_letters(text: str) -> str:
    """ASCII and LaTeX for symbols, full-width letters, fractions and raised digits."""
    if text.isascii():
        return text
    parts: list[str] = []
    for letter in text:
        if letter in _SYMBOLS:
            parts.append(_SYMBOLS[letter])
        elif letter in _LOWERED:
            parts.append(f"_{{{_LOWERED[letter]}}}")
        elif letter in _RAISED:
            parts.append(f"^{{{_RAISED[letter]}}}")
        elif unicodedata.normalize("NFKC", letter).count("\u2044") == 1:
            over, under = unicodedata.normalize("NFKC", letter).split("\u2044")
            parts.append(f"\\frac{{{over}}}{{{under}}}")
        else:
            parts.append(letter if letter in "√∛" else unicodedata.normalize("NFKC", letter))
    plain = "".join(parts).replace("}^{", "").replace("}_{", "")
    return _ROOT.sub(_root, plain)


def _root(match: re.Match[str]) -> str:
    inside = match[2] or match[3] or match[4]
    return f"\\sqrt{{{inside}}}" if match[1] == "√" else f"\\sqrt[3]{{{inside}}}"


def _sign(match: re.Match[str]) -> str:
    """The sign that a word before a number is; an adjective after an operand stays a word."""
    word = match[1].lower()
    if word == "minus":
        return "-"
    before = match.string[: match.start()]
    if _OPERAND.search(before) and not _AND.search(before):
        return match[0]
    return "-" if word == "negative" else ""


def _undecorated(text: str) -> str:
    """Without fonts, colours and boxes, which nest a few deep at most."""
    for _ in range(4):
        before = text
        text = _WORDED.sub(r"\1", _UPRIGHT.sub(r"{\1}", _DECORATED.sub(r"{\1}", text)))
        text = _COLOURED.sub(lambda m: f"{{{m[1]}}}" if m[1] else "", text)
        text = re.sub(r"\{\{([^{}]*)\}\}", r"{\1}", text)
        if text == before:
            break
    while (
        len(text) > 2 and text[0] == "{" and text[-1] == "}" and text.count("{") == text.count("}") == 1
    ):
        text = text[1:-1]
    return re.sub(r"(?<![_^}\]A-Za-z])\{([A-Za-z0-9])\}", r"\1", text)


def _spaced(text: str) -> str:
    return text.replace(" ", "") if _SPACED.fullmatch(text) else text


def _repeating(text: str) -> str:
    match = _REPEATING.fullmatch(text)
    if match is None:
        return text
    sign, whole, head, block = match[1], match[2], match[3], match[4] or match[5] or match[6]
    if len(head) + len(block) > 40:
        return text
    nines = (10 ** len(block) - 1) * 10 ** len(head)
    value = Fraction(int(whole + head + block) - int(whole + head), nines)
    return f"{sign}\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _mixed(text: str) -> str:
    match = _MIXED.fullmatch(text)
    if match is None:
        return text
    over, under = int(match[3] or match[5]), int(match[4] or match[6])
    if not under:
        return text
    value = Fraction(int(match[2]) * under + over, under)
    return f"{match[1]}\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _counted(text: str) -> str:
    match = _COUNTED.fullmatch(text)
    if match is None:
        return text
    total, chosen = int(match[1]), int(match[3])
    return str((perm if match[2] == "P" else comb)(total, chosen)) if total <= _MOST_COUNTED else text


_WHOLE: tuple[Callable[[str], str], ...] = (_spaced, _repeating, _mixed, _counted)
