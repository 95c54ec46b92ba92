"""Duplicate problems, within a dataset and between training and evaluation datasets."""

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
    """Normal form of a problem's text, equal for texts that differ only in formatting.

    Unicode forms, letter case, spaces, punctuation, dollar signs and LaTeX's spacing are removed;
    letters, digits, brackets and arithmetic signs stay.

    Args:
        problem: Text of the problem.

    Returns:
        Its words and signs, separated by single spaces.

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
    """Training problems that also occur in an evaluation set.

    Attributes:
        same: Positions of training problems whose normalised form is in the evaluation set.
        near: Positions of other training problems that share thirteen consecutive words with an
            evaluation problem.
    """

    same: list[int]
    near: list[int]


def overlap(training: Sequence[str], evaluation: Sequence[str]) -> Overlap:
    """Find training problems that also occur in an evaluation set.

    Args:
        training: Texts of the training problems.
        evaluation: Texts of the evaluation problems.

    Returns:
        Their positions in `training`.
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
