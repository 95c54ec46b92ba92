"""Extract the answer from a completion, as text; nothing is parsed as mathematics here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from numbers import Real
from typing import Any

TAIL = 10_000  # characters at the end of a completion that are searched for an answer
LONGEST = 1_000  # most characters of an answer

_TAGS = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad)\s*"
_THOUGHT = re.compile(
    rf"</{_TAGS}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_THINKING = re.compile(
    rf"<{_TAGS}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>",
    re.IGNORECASE,
)
_NAMES = "endoftext|im_end|im_start|eot_id|eom_id|end_of_text|end|eos|end_of_turn|return"
_END = re.compile(rf"<\|?(?:{_NAMES})\|?>|</?s>|<pad>|\[/INST\]|<｜end▁of▁sentence｜>")
_BEGUN = re.compile(rf"(?:\s*(?:{_END.pattern}))+")  # a completion may repeat the prompt's last tokens
_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
_HASH = re.compile(r"####[ \t]*([^\n]+)")
_MARK = r"[ \t*_]*"
_SAID = re.compile(
    rf"(?:(?:final|correct|right)\s+answer|the\s+(?:answer|result)|\banswer(?={_MARK}[:=]))"
    rf"{_MARK}(?:is[ \t]*:?|=|:){_MARK}(?:\n\s*)?([^\n]+)"
    rf"|^#+[ \t]*(?:final[ \t]+)?answer{_MARK}:?{_MARK}\n\s*([^\n]+)"
    r"|答案(?:是|为|：|:)\s*([^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_POWER = r"\^\{?-?[0-9]+\}?"
_TENS = rf"\s*(?:×|\\times|\*)\s*10{_POWER}"
# Not a part of a decimal, a subscript, a power, a fraction or a root.
_APART = r"(?<![\w^_/\\.:])(?<![}^_]\{)(?<!frac\{)(?<!sqrt\{)"
_SCALED = rf"[eE][+-]?[0-9]+(?![A-Za-z0-9])|{_TENS}|{_POWER}|/[0-9]+"
# The word before a last number, unless it is the operation between two.
_SIGNED = r"(?:(?<![\w-])negative\s+|(?<![\w-])(?<![0-9)}\]]\s)minus\s+)?"
_NUMBER = re.compile(rf"{_SIGNED}{_APART}[-−]?{_DIGITS}(?:{_SCALED})?")
_BOX = r"\\(?:boxed|fbox)\s*\{"
_BOXED = re.compile(_BOX)
_BARE = re.compile(
    r"\\(?:boxed|fbox)\s*(-?[0-9]+(?:\.[0-9]+)?|[A-Za-z]|\\[dt]?frac\{[^{}]*\}\{[^{}]*\})(?=[\s$.,;!?)]|$)"
)
# A box, another escape (its letter counts for nothing, unless a box starts there), or a brace.
_BRACES = re.compile(rf"{_BOX}|\\(?!{_BOX})[\s\S]|[{{}}]")
# What stands between two boxes that are parts of one answer: "x = 3 and x = -5".
_JOINT = re.compile(r"[\s$,;&]*(?:(?:and|or)[\s$,]*)?(?:[A-Za-z](?:_\{?\w\}?)?\s*=\s*)?")
_SPAN = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$([^$]+)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_LINK = re.compile(r"[\s,;*.:]*(?:and|or)?[\s,;*.:]*", re.IGNORECASE)
_SENTENCE = re.compile(r"\.\s+(?=[A-Z\\$])|[。！？]|(?<=[0-9A-Za-z)}])\.\s*$")
_WHY = "because|since|as|so|which|where|when|reached|found|obtained|after|giving|that|for|from|with|at"
_ASIDE = re.compile(rf",\s+(?:{_WHY})\b|\s+\((?:{_WHY})\b")
_PART = re.compile(
    r"[=+*/^<>-]|[0-9]|\b(?:minus|negative|not|hundred|thousand|million|billion|trillion|percent)\b"
)
_COUNTED = re.compile(
    rf"((?:(?:minus|negative)\s+)?(?:\\?\$\s*)?-?{_DIGITS}(?:\\?%)?)(?:\s+[A-Za-z][a-z'-]{{2,}}){{1,4}}"
)
_UNITLESS = re.compile(
    r"\s(?:and|or|over|times|plus|minus|less|more|than|mod|sqrt|sin|cos|tan|log|exp|power|factorial|half|halves"
    r"|thirds?|quarters?|fifths?|percent|hundred|thousand|million|billion|trillion|dozen|squared|cubed|if|not"
    r"|but|base)\b"
)
_LABEL = re.compile(r"\\text\s*\{[^{}]*:\s*\}\s*")


def answer_of(completion: str) -> str | None:
    r"""The answer of a completion.

    Thinking (up to `</think>`) is left out, and thinking that never ends has no answer. Then the last of
    the first kind that there is: `\\boxed{...}` (boxes that are parts of one answer are joined);
    `<answer>...</answer>`; `#### ...` (GSM8K); what follows "answer is" or "Answer:", without the words
    after it; a number. What is in a tag or after words may be boxed, or stand between dollar signs.

    Args:
        completion: Text of the model; only its last 10,000 characters are searched.

    Returns:
        The answer, or None if there is none or it is longer than 1,000 characters.

    >>> answer_of("so x = 3, and the answer is $\\frac{1}{2}$.")
    '\\frac{1}{2}'
    >>> answer_of("<answer>12</answer> or \\boxed{13}")
    '13'
    >>> answer_of("<think>\\boxed{11}? no</think> The answer is 14 dollars.")
    '14'
    """
    tail = after_thinking(completion)
    for rule in RULES:
        answer = rule(tail)
        if answer is not None:
            answer = plain(answer)
            return answer if 0 < len(answer) <= LONGEST else None
    return None


def readings_of(completion: str) -> list[str]:
    r"""Readings of an answer that may be a grid, a list or a sentence, for scorers that compare texts.

    They are of the same place: without a final full stop, as it stands, and as `answer_of` reads it. A
    completion without a mark (box, tag, ...) and of one paragraph is an answer as a whole.

    >>> readings_of("<answer>of, as</answer>"), readings_of("The answer is yes.")
    (['of, as', 'of'], ['yes', 'yes.'])
    """
    tail = after_thinking(completion)
    marked = next((text for text in (rule(tail) for rule in _PLACES) if text is not None), None)
    if marked is None:
        marked = "" if "\n\n" in tail.strip() else tail
    grid = marked.strip("\n") if "\n" in marked.strip() else ""  # its first line may start with spaces
    texts = [marked.strip().removesuffix("."), marked.strip(), grid, answer_of(completion)]
    return list(dict.fromkeys(text for text in texts if text and len(text) <= LONGEST))


def after_thinking(completion: str) -> str:
    """The end of a completion: after its thinking, up to its first end token; empty while it thinks."""
    begun = _BEGUN.match(completion)
    start = max((thought.end() for thought in _THOUGHT.finditer(completion)), default=0)
    start = start or (0 if begun is None else begun.end())
    opened = _THINKING.search(completion, start)
    ended = _END.search(completion, start, len(completion) if opened is None else opened.start())
    stop = ended or opened
    return completion[start : len(completion) if stop is None else stop.start()][-TAIL:]


def gold_of(gold: str) -> str:
    r"""The answer in a gold, which may be a solution that boxes it or a sentence around it.

    >>> gold_of("The maximum is $12$"), gold_of("12 (at x=3)"), gold_of("\\frac{1}{2}")
    ('12', '12', '\\frac{1}{2}')
    """
    boxed = last_boxed(gold)
    if boxed is not None:
        return plain(boxed)
    lines = _HASH.findall(gold)
    if lines:
        return plain(lines[-1])
    if len(gold) > LONGEST:
        return gold
    return plain(_LABEL.sub("", without_words(gold), count=1))


def golds_of(gold: object) -> list[str]:
    """The right answers that a gold stands for: a number, a text, or a list of alternatives (JSON too).

    Raises:
        TypeError: It is none of these.
        ValueError, OverflowError: A number that is not finite, or of thousands of digits.

    >>> golds_of(12.0), golds_of('["8", "2^3"]'), golds_of("[1, 2]")
    (['12'], ['8', '2^3'], ['[1, 2]'])
    """
    if isinstance(gold, str):
        return [gold_of(text) for text in _listed(gold) or [gold]]
    if isinstance(gold, bool):
        raise TypeError("bool")
    items: Any = gold
    if isinstance(gold, Real):
        whole = int(items)
        return [str(whole if whole == items else items)]
    if hasattr(items, "tolist"):  # an array of numpy, or a scalar of it
        return golds_of(items.tolist())
    if type(gold) in (list, tuple) and items:
        return [text for item in items for text in golds_of(item)]
    raise TypeError(type(gold).__name__)


def _listed(text: str) -> list[str]:
    """Texts of a JSON list; empty for anything else, e.g. an interval."""
    if not (text.strip().startswith('["') and len(text) <= TAIL):
        return []
    try:
        items: list[Any] = json.loads(text)
    except (ValueError, RecursionError):
        return []
    texts = [item for item in items if isinstance(item, str)]
    return texts if len(texts) == len(items) else []


def without_words(text: str) -> str:
    """An answer without the sentence around it.

    >>> without_words("18 dollars."), without_words("5, as 2 + 3 = 5."), without_words("$12$, so 6")
    ('18', '5', '12')
    """
    text = text[:LONGEST].strip()
    spans = list(_SPAN.finditer(text))
    for cut in (_SENTENCE, _ASIDE):
        for match in cut.finditer(text):
            if match.start() and not any(span.start() < match.start() < span.end() for span in spans):
                text = text[: match.start()].strip()
                break
    spans = list(_SPAN.finditer(text))
    if not spans:
        text = plain(plain(text).strip("*_ "))
        counted = _COUNTED.fullmatch(text)
        return text if counted is None or _UNITLESS.search(text) else counted[1]
    outside = _SPAN.sub(" ", text)
    if _PART.search(outside):  # signs, numbers and scale words beside formulas belong to the answer
        return plain(text.replace("$", " ") if "\\" not in outside else text)
    between = [text[a.end() : b.start()] for a, b in pairwise(spans)]
    parts = [next(group for group in span.groups() if group is not None) for span in spans]
    if not all(_LINK.fullmatch(words) for words in between):
        parts = parts[:1]
    return ", ".join(plain(part) for part in parts)


def plain(answer: str) -> str:
    """An answer without surrounding spaces, dollar signs and box, and without a final full stop."""
    text = answer.strip()
    for _ in range(4):  # at most two layers of each, in any order
        start = text
        text = text.removesuffix(".").rstrip()
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            inner_text = text[len(left) : len(text) - len(right)]
            if text.startswith(left) and text.endswith(right) and inner_text and left not in inner_text:
                text = inner_text.strip()
        box, inner = _BOXED.match(text), last_boxed(text)
        if box is not None and inner is not None and box.end() + len(inner) + 1 == len(text):
            text = inner.strip()
        if text == start:
            break
    return text


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` that closes holds, with those that are parts of the same answer."""
    bare = [(match.start(), match.end(), match[1]) for match in _BARE.finditer(text)]
    boxes = sorted([*braced(text), *bare])
    if not boxes:
        return None
    start, _, inner = boxes.pop()
    parts = [inner]
    for before, closed, inner in reversed(boxes):
        if closed > start:  # it is around the one after it
            continue
        if not (text[closed:start].strip() and _JOINT.fullmatch(text, closed, start)):
            break
        parts.append(inner)
        start = before
    return ", ".join(dict.fromkeys(part.strip() for part in reversed(parts)))


def answer_tags(text: str) -> list[str]:
    """What the answer tags hold, in order."""
    return [match[1] for match in _TAG.finditer(text)]


def braced(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of each box in braces that closes, in order; escaped ones do not count."""
    opened: list[tuple[int, int] | None] = []  # of each open brace: where a box and its content start
    boxes: list[tuple[int, int, str]] = []
    for token in _BRACES.finditer(text):  # once through, whatever is nested or never closed
        if token[0] == "}":
            place = opened.pop() if opened else None
            if place is not None:
                boxes.append((place[0], token.end(), text[place[1] : token.start()]))
        elif token[0][-1] == "{" and token[0] != "\\{":
            opened.append((token.start(), token.end()) if len(token[0]) > 1 else None)
    return sorted(boxes)


def _last(pattern: re.Pattern[str], words: bool = True) -> Callable[[str], str | None]:
    def rule(text: str) -> str | None:
        answer = None
        for match in pattern.finditer(text):
            answer = next((part for part in match.groups() if part is not None), match[0])
        return answer if answer is None or not words else without_words(answer)

    return rule


def _tagged(text: str) -> str | None:
    """What the last answer tag holds, without words around the answer."""
    inner = _last(_TAG, words=False)(text)
    if inner is None:
        return None
    said = _last(_SAID)(inner)
    return without_words(inner) if said is None else said


RULES: tuple[Callable[[str], str | None], ...] = (
    last_boxed,
    _tagged,
    _last(_HASH),
    _last(_SAID),
    _last(_NUMBER, words=False),
)


def _to_end(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    """The text from the last match's answer on, which may have several lines."""

    def rule(text: str) -> str | None:
        matches = list(pattern.finditer(text))
        if not matches:
            return None
        last = matches[-1]
        start = next(last.start(i) for i, group in enumerate(last.groups(), 1) if group is not None)
        return text[len(text[:start].rstrip("_ ")) :]  # a grid may start with what marks bold text

    return rule


_PLACES = (last_boxed, _last(_TAG, words=False), _to_end(_HASH), _to_end(_SAID))
