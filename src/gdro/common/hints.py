"""Suggestions for misspelt names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Part of an error message that suggests a known name; empty if none is close.

    >>> did_you_mean("max_step", ["max_steps", "beta"], "trl.")
    "; did you mean 'trl.max_steps'?"
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix + close[0]!r}?" if close else ""


def hint(name: str, known: Iterable[str]) -> str:
    """Part of an error message that suggests a known name and lists all of them.

    >>> hint("eta1", ["eta", "gamma"])
    "; did you mean 'eta'? known: eta, gamma"
    """
    known = list(known)
    return f"{did_you_mean(name, known) or ';'} known: {', '.join(known) or 'none'}"
