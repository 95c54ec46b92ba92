"""Letters at the start of a text: `B`, `(b)`, `B) seven`, `A or C`; formulas and pronouns are none."""

from __future__ import annotations

import re

from gdro.rewards.extract import LONGEST

NOUN = r"(?:options?|choices?|answers?|letters?|alternatives?|statements?|solution|选项|選項)"
OPEN, CLOSE = r"[(\[{【<]?", r"[)\]}】>]?"
# What stands between two letters of a list; the marks also separate a letter from a new clause.
LINKING = r"(?:(?:and\s*/\s*or|and|or|oder|und|ou|et|y|o)(?![A-Za-z])|或者|或|和|与|及)"
_FONT = r"\\(?:text|textbf|textit|textrm|emph|underline|mathrm|mathbf|mathsf|mathit|boldsymbol|bf|rm)"
_FONTS = re.compile(rf"{_FONT}\s*\{{([^{{}}]*)\}}|{_FONT}(?![A-Za-z])\s*")
_SPACES = re.compile(r"\\(?:[,;:! ]|quad|qquad)|~|[\u00a0\u3000]")
_MARKS = str.maketrans("", "", '*`$"“”„«»‹›「」『』')
_QUOTES = re.compile(r"(?<![A-Za-z])['‘’]|['‘’](?![A-Za-z])")
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9])_{1,2}([A-Za-z])_{1,2}(?![A-Za-z0-9])")
_SYMBOLS = {"\\&": "&", "\\lor ": " or ", "\\land ": " and "}
_TAGS = re.compile(r"</?(?:b|i|u|em|strong|span|code|p)>", re.IGNORECASE)
_CONTENT = re.compile(r"[^\s.?…~$_{}()\[\]\\]")
_DOTS = re.compile(r"\\[lc]?dots(?![A-Za-z])")
_LEAD = re.compile(
    r"(?:(?:the|my|our|is|are|be|final|correct|right|best|only|definitely|clearly|probably|likely|simply"
    rf"|therefore|thus|hence|so|either|both|as|{NOUN}|答案|为|是|選|选)\b\s*[:=]?\s*|[:=>→(\[【,\-]\s*)*",
    re.IGNORECASE,
)
_LETTER = re.compile(rf"(?P<open>{OPEN})\s*(?P<letter>[A-Za-z])\s*(?P<close>{CLOSE})(?![A-Za-z0-9_^'’])")
_MAYBE = r"(?:maybe|perhaps|possibly|also|even|else|rather|both|either)"
_LINK = re.compile(
    rf"\s*(?:(?P<hard>(?:[,;(]\s*)?{LINKING}|(?:to|through)(?=\s+{OPEN}[A-Z]\b)|[/&|+])"
    r"|[,;、.]|[-–](?=\s*[(\[]?[A-Z])|)\s*"
    rf"(?:{_MAYBE}\s+)*(?:{NOUN}\s+)?",
    re.IGNORECASE,
)
_AND = re.compile(r"[ ,;(]*(?:and|und|et|y)\s", re.IGNORECASE)
_VERB = (
    r"(?:is|was|isn['’]?t|are|were|would|could|can|cannot|can['’]?t|will|must|seems?|looks?|fails?|fits?"
    r"|makes?|matches|describes|follows|works|holds|has|does|doesn['’]?t|gives|contradicts|states|says)"
)
_CLAUSE = re.compile(rf"\s+{_VERB}\b", re.IGNORECASE)
_ABOUT = re.compile(  # what is said of a few letters, unless they are praised
    rf"(?:\s*(?:,|{LINKING})\s*{OPEN}[A-Z]{CLOSE}(?![A-Za-z])){{0,8}}"
    rf"\s+{_VERB}\b"
    r"(?!\s+(?:both|all|correct|right|true|possible)\b)"
)
_FORMULA = re.compile(r"\s*(?:[=<>^_+*/≤≥≠≈×·]|\\[A-Za-z]|[-−]\s*[0-9]|[b-z](?![A-Za-z'’)]))")
_LISTED = re.compile(r"\s*[/+]\s*[(\[]?[A-Z](?![A-Za-z0-9])")
_WORD = re.compile(r"\s+[a-z]\w*")
_ALSO = re.compile(rf"\s+(?:{LINKING}|are)\b")
_REASON = re.compile(
    rf"\s+(?:because|since|as|for|which|where|due|given|by|but|not|rather|instead|over|from|with|in|here"
    rf"|weil|car|{LINKING}|(?:to|through)\s+{OPEN}[A-Z]\b)",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"\s*(?:(?:is|was|are|were|would be|must be|seems?|looks?|can be|could be)\s+(?:also\s+|clearly\s+)?"
    r"(?:wrong|incorrect|false|not|out|ruled|eliminated|excluded|discarded|impossible|no|a distractor"
    r"|invalid|tempting|too)|isn['’]?t|fails|can(?:not|['’]t)|does(?:n['’]t| not)|contradicts)\b",
    re.IGNORECASE,
)


def bare(text: str) -> str:
    """A text without fonts, LaTeX spaces, bold marks and quotes."""
    for _ in range(4):
        before, text = text, _FONTS.sub(lambda match: match[1] or "", text)
        if before == text:
            break
    for symbol, plainly in _SYMBOLS.items():
        text = text.replace(symbol, plainly)
    text = _TAGS.sub("", _EMPHASIS.sub(r"\1", _SPACES.sub(" ", text)))
    return _QUOTES.sub("", text.translate(_MARKS)).strip()


def has_content(text: str) -> bool:
    r"""Whether a text holds more than spaces, dots, brackets and fonts.

    >>> [has_content(text) for text in (r"\text{ }", "...", r"\emptyset", "0")]
    [False, False, True, True]
    """
    return _CONTENT.search(_DOTS.sub("", bare(text))) is not None


def letters_of(text: str, choices: str, whole: bool = True, small: bool = True) -> str | None:
    """Letters that a text starts with, in capitals as one word; None if it does not start with a choice.

    Args:
        text: What may hold a choice.
        choices: Letters that may be chosen.
        whole: Whether the text is all that there is at its place, rather than the start of a sentence.
        small: Whether a lower-case letter may be a choice.

    >>> [letters_of(t, "ABCD") for t in ("(b)", "A or C", "C: seven", "A good question", "D = 4")]
    ['B', 'AC', 'C', None, None]
    """
    text = " ".join(bare(text[:LONGEST]).split())
    lead = _LEAD.match(text)
    start = 0 if lead is None else lead.end()
    if start and text[start - 1] in "([【":
        start -= 1
    first = _LETTER.match(text, start)
    if first is None or not _begins(first, text[first.end() :], choices, whole, small):
        return None
    letters, at = first["letter"].upper(), first.end()
    while True:
        link = _LINK.match(text, at)
        more = None if link is None else _LETTER.match(text, link.end())
        if link is None or more is None or not _continues(first, link, more, text[more.end() :]):
            break
        letters, at = letters + more["letter"].upper(), more.end()
    distinct = "".join(dict.fromkeys(letters))
    return None if len(distinct) == 1 and text[at:].lstrip().startswith("?") else distinct


def is_word(letter: str, after: str) -> bool:
    """Whether what follows a letter makes it a word: "A man", "I think"."""
    if (letter not in "AaIi" and letter.isupper()) or _WORD.match(after) is None or _REASON.match(after):
        return False
    return letter in "Ii" or _CLAUSE.match(after) is None


def is_in_formula(after: str) -> bool:
    """Whether what follows a letter makes it a part of a formula: "A = 5", "B x"."""
    return _FORMULA.match(after) is not None and _LISTED.match(after) is None


def is_wrong(after: str) -> bool:
    """Whether what follows a letter refutes it: "B is wrong"."""
    return _WRONG.match(after) is not None


def _begins(first: re.Match[str], after: str, choices: str, whole: bool, small: bool) -> bool:
    """Whether a letter at the start of a text is a choice, by what follows it."""
    letter, closed = first["letter"], bool(first["close"])
    if letter.islower() and (letter.upper() not in choices or not (small or closed)):
        return False
    if letter.upper() not in choices and (whole or after.strip(" .!")):
        return False
    if closed:
        return not is_wrong(after) and re.match(r"\s*[=<>^+*]", after) is None
    return not (is_wrong(after) or is_in_formula(after) or is_word(letter, after))


def _continues(first: re.Match[str], link: re.Match[str], more: re.Match[str], after: str) -> bool:
    """Whether a further letter continues a list, rather than starting a clause about itself."""
    letter, closed = more["letter"], bool(more["close"])
    if letter.islower() and not (first["letter"].islower() or closed):
        return False
    if not link[0] and not (first["close"] and more["open"]):
        return False
    if is_in_formula(after) or (letter in "AaIi" and not closed and is_word(letter, after)):
        return False
    if link["hard"] is not None and _AND.match(link[0]) is None:  # "or": a clause would be about both
        return True
    about = _ABOUT.match(after) is not None
    return not about and (_WORD.match(after) is None or _ALSO.match(after) is not None)
