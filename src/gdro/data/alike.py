"""Which problems are the same: within a set, and between training and evaluation sets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NGRAM = 13  # words; as in arXiv 2005.14165, appendix C

_WORDS = re.compile(r"[^\W_]+|[+\-*/=<>^%!|(){}\[\]]")
_NOISE = re.compile(
    r"\\(?:left|right|,|;|!|quad|qquad|displaystyle|mathrm|text|dfrac|tfrac)\b|\\[,;!()\[\]]"
)


def normalised(problem: str) -> str:
    """A problem without what makes the same problem look different.

    Unicode forms, letter case, spaces, punctuation, dollar signs and LaTeX's spacing go; letters,
    digits, brackets and signs of arithmetic stay.

    >>> normalised("Find $x$:  $\\\\left( 2x \\\\right) = 4$.") == normalised("find x: (2x)=4")
    True
    >>> normalised("88 / (4 / 2)") == normalised("88 / 4 / 2")
    False
    """
    return " ".join(_words(problem))


def _words(text: str) -> list[str]:
    return _WORDS.findall(_NOISE.sub(" ", unicodedata.normalize("NFKC", text)).casefold())


@dataclass(frozen=True)
class Overlap:
    """Problems of one set that are in another.

    Attributes:
        same: Positions of the problems that are there in normalised form.
        near: Positions of those that are not, but share thirteen words in a row with one.
    """

    same: list[int]
    near: list[int]


def overlap(training: Sequence[str], evaluation: Sequence[str]) -> Overlap:
    """Training problems that an evaluation set holds too.

    Args:
        training: Problems.
        evaluation: Problems.

    Returns:
        Positions in `training`.
    """
    known = {normalised(problem) for problem in evaluation}
    grams = {gram for problem in evaluation for gram in _grams(problem)}
    same = [i for i, problem in enumerate(training) if normalised(problem) in known]
    left = set(range(len(training))) - set(same)
    near = [i for i in sorted(left) if any(gram in grams for gram in _grams(training[i]))]
    return Overlap(same, near)


def _grams(problem: str) -> set[tuple[str, ...]]:
    words = _words(problem)
    return {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}
