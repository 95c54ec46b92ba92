"""What a misspelt name was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A piece of an error message, empty where no known name is close.

    Args:
        name: What was given.
        known: What there is.
        prefix: Written before the name that was meant.

    >>> did_you_mean("max_step", ["max_steps", "beta"], "trl.")
    "; did you mean 'trl.max_steps'?"
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix + close[0]!r}?" if close else ""


def hint(name: str, known: Iterable[str]) -> str:
    """What a misspelt name was meant to be, and all that it could be.

    >>> hint("eta1", ["eta", "gamma"])
    "; did you mean 'eta'? known: eta, gamma"
    """
    known = list(known)
    return f"{did_you_mean(name, known) or ';'} known: {', '.join(known) or 'none'}"
