"""The letter that a completion chooses: a statement comes before a mention, several letters are none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from gdro.rewards.extract import LONGEST, after_thinking, answer_tags, braced, last_boxed, plain
from gdro.rewards.letters import (
    CLOSE,
    LINKING,
    NOUN,
    OPEN,
    bare,
    has_content,
    is_in_formula,
    is_word,
    is_wrong,
    letters_of,
)

_MARKED = 20  # boxes or tags that are looked at, from the end
_MOST, _LONG = 200, 300  # cues that are looked at, from the end, and characters after each
_SEVERAL = "AB"

_IS = r"(?:is|are|be|ist|est|es|è|é|seems\s+to\s+be|appears\s+to\s+be)"
_ANSWER = (
    rf"{NOUN}|pick|guess|selection|response|conclusion|Antwort|L[öo]sung|respuesta|opci[óo]n|r[ée]ponse"
    r"|risposta|resposta|ответ|вариант|odpowied[zź]|cevap|jawaban|đáp\s+án|antwoord|svar"
)
_PICK = (
    r"choose|chose|choosing|pick|picked|select|selected|selecting|go(?:ing)?\s+(?:with|for)|went\s+with"
    r"|opt(?:ed)?\s+for|settle\s+(?:on|for)|vote(?:\s+for)?|answer\s+with|mark|bet\s+on|take|wähle|elijo|choisis"
)
_SAID = re.compile(
    rf"####\s*|(?<![A-Za-z])(?:(?:{_ANSWER})(?![A-Za-z])[^.\n:=?]{{0,40}}?"
    rf"(?:(?<![A-Za-z]){_IS}(?![A-Za-z])\s*:?|[:=→])|(?:{_PICK})(?![A-Za-z])\s*:?)"
    r"|(?:正确答案|答案|正解|答え|故选|故選|应选|應選|选择|選擇|选|정답)\s*(?:应该|應該)?"
    r"\s*(?:是|为|為|は|은|:)?\s*:?",
    re.IGNORECASE,
)
_PRAISED = re.compile(
    rf"(?:(?<![A-Za-z]){NOUN}\s+)?{OPEN}\s*(?<![A-Za-z0-9'’])(?P<letter>[A-Z])\s*{CLOSE}\s+"
    r"(?:is|must\s+be|seems|would\s+be|has\s+to\s+be)\s+(?:clearly\s+|therefore\s+|thus\s+)?(?:the\s+)?"
    r"(?:only\s+)?(?:correct|right|best|answer|true|most\s+(?:likely|accurate|appropriate))\b"
)
_LINKED = re.compile(rf"[A-Z]\s*{CLOSE}\s*(?:{LINKING}|/|,)\s*$")
_WEAK = re.compile(
    r"(?<![A-Za-z])(?:therefore|thus|hence|so|it['’]s|it\s+is|is|be|must\s+be|should\s+be|believe|think"
    r"|guess|say|means)(?![A-Za-z])\s*,?\s*(?:that\s+)?(?:it\s+is\s+|it['’]s\s+)?|[:→⇒∴]\s*|=>\s*",
    re.IGNORECASE,
)
_MATH = re.compile(r"\$\$.{1,500}?\$\$|\$[^$\n]{1,500}\$|\\\(.{1,500}?\\\)|\\\[.{1,500}?\\\]", re.DOTALL)
_DENIED = re.compile(r"(?:\b(?:not|never|cannot|nor|neither)|n['’]t)\b", re.IGNORECASE)
_NOT = re.compile(
    r"(?:not|neither|nor|never|isn['’]?t|aren['’]?t|cannot|can['’]?t|no|nicht|pas|不是"
    r"|rul(?:e|es|ed|ing)\s+out|eliminat\w{1,4}|exclud\w{1,4}|reject\w{0,3}|discard\w{0,3})"
    r"\s+(?:be\s+|option\s+)?$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?<![A-Za-z])([A-Z])[)\]]")
_CUT = re.compile(r"[.:!\n]\s*")
_ONLY = re.compile(rf"{OPEN}[A-Za-z]{CLOSE}[.!]?")
_ALONE = re.compile(r"(?<![A-Za-z0-9'’_^\\])[A-Z](?![A-Za-z0-9'’_^])")
_BEFORE = re.compile(r"([A-Za-z][\w'’-]*)[ \t]+$")
_OPERATOR = re.compile(r"[=<>^_+*/\\]\s*$")
_NEUTRAL = re.compile(
    rf"(?:{NOUN}|\w+ly|maybe|perhaps|that|than|to|and|or|between|both|either|with|of|on|for|but|then|say"
    r"|just|only)",
    re.IGNORECASE,
)


def chosen(text: str, choices: str = "ABCD") -> str | None:
    r"""The letter that a completion chooses, or None.

    Thinking is left out. Then the last of the first of these that there is: a letter in a box; in an
    answer tag; after `####`, "answer is", "I choose" and the like; the only line; after "so" or a colon;
    at the start of a line; at the end; the only letter that stands alone. A letter with words after it,
    as in `C: seven`, is a choice; a formula, an article, a pronoun and "not B" are none; several letters
    at one place are none.

    Args:
        text: Completion of the model.
        choices: Capital letters that may be chosen.

    >>> [chosen(text) for text in ("The answer is B. A is wrong.", r"\boxed{A or B}", "(c)", "not B")]
    ['B', None, 'C', None]
    """
    for letters in _places(unicodedata.normalize("NFKC", after_thinking(text)), choices):
        return letters if len(letters) == 1 and letters in choices else None
    return None


def gold_letter(gold: str, choices: str) -> str | None:
    r"""The letter of a gold such as `B`, `b`, `(B)`, `B)`, `B. seven` or `\text{B}`, or None.

    >>> [gold_letter(gold, "ABCD") for gold in ("(b)", "C) 7", r"\text{D}", "1", "A, B")]
    ['B', 'C', 'D', None, None]
    """
    letters = letters_of(unicodedata.normalize("NFKC", plain(gold)), choices)
    return letters if letters is not None and len(letters) == 1 and letters in choices else None


def _places(tail: str, choices: str) -> Iterator[str]:
    """Letters at each place where a choice is looked for, best first; an empty box or tag has none."""
    text, prose = bare(tail), bare(_MATH.sub(" # ", tail))
    boxes, joined = [inner for _, _, inner in braced(text)], last_boxed(text)
    for marked in ([] if joined is None else [joined, *reversed(boxes)], answer_tags(tail)[::-1]):
        if marked and not has_content(marked[0][:LONGEST]):
            yield ""
        for inner in [inner for inner in marked[:_MARKED] if len(inner) <= LONGEST]:
            letters = next(_stated(bare(inner), choices), None) or letters_of(inner, choices)
            if letters is not None:
                yield letters
    lines = [line for line in text.splitlines() if line.strip()]
    yield from _stated(text, choices)
    only = letters_of(text, choices) if len(lines) == 1 else None
    if only is not None and "".join(_LABEL.findall(text)) != choices:  # all choices are listed
        yield only
    yield from _concluded(prose, choices)
    yield from _on_lines(lines if len(lines) > 1 else [], choices)
    yield from _mentioned(prose, choices)


def _stated(text: str, choices: str) -> Iterator[str]:
    """Letters of statements such as "the answer is B" or "B is correct", the last one first."""
    places: list[tuple[int, str]] = []
    for match in list(_SAID.finditer(text))[-_MOST:]:
        if _DENIED.search(text, max(0, match.start() - 10), match.end()):
            continue
        letters = letters_of(text[match.end() : match.end() + _LONG], choices, whole=False)
        if letters is not None:
            places.append((match.start(), letters))
    for match in _PRAISED.finditer(text):
        linked = _LINKED.search(text[max(0, match.start() - 12) : match.start()])
        places.append((match.start(), match["letter"] if linked is None else _SEVERAL))
    yield from (letters for _, letters in sorted(places, reverse=True))


def _concluded(text: str, choices: str) -> Iterator[str]:
    """Letters after "so", "it is" or a colon, the last one first."""
    for match in reversed(list(_WEAK.finditer(text))[-_MOST:]):
        if _NOT.search(text[max(0, match.start() - 10) : match.end()]) is None:
            after = text[match.end() : match.end() + _LONG]
            letters = letters_of(after, choices, whole=False, small=False)
            if letters is not None:
                yield letters


def _on_lines(lines: list[str], choices: str) -> Iterator[str]:
    """Letters that start lines; lines with a letter alone come before those with words."""
    read = [(letters_of(line, choices), _ONLY.fullmatch(line.strip())) for line in lines]
    for kind in ([letters for letters, only in read if only], [letters for letters, _ in read]):
        letters = "".join(dict.fromkeys("".join(filter(None, kind))))
        if letters:
            yield letters
            return


def _mentioned(text: str, choices: str) -> Iterator[str]:
    """A letter that ends the text; else all letters that stand alone in it."""
    last = _CUT.split(text.rstrip(" .!\n"))[-1]
    ending = letters_of(last, choices) if last != text and _ONLY.fullmatch(last) else None
    if ending is not None:
        yield ending
    alone = {match[0] for match in _ALONE.finditer(text) if _is_choice(text, match, choices)}
    if alone:
        yield "".join(sorted(alone))


def _is_choice(text: str, match: re.Match[str], choices: str) -> bool:
    """Whether a letter in running text can be a choice: no article, formula, name or refuted one."""
    before = text[max(0, match.start() - 60) : match.start()]
    after = text[match.end() : match.end() + 60]
    if match[0] not in choices or is_wrong(after.lstrip(")]")) or after.startswith("?"):
        return False
    if _NOT.search(before.rstrip("([ ") + " "):
        return False
    if before.endswith(("(", "[")) and after.startswith((")", "]")):
        return True
    word = _BEFORE.search(before)
    if word is not None and not _NEUTRAL.fullmatch(word[1]):
        return False
    return not (is_in_formula(after) or _OPERATOR.search(before) or is_word(match[0], after))
