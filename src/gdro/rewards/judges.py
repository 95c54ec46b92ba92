"""The judges of a worker: math-verify, or reasoning-gym's own scorers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, cast

_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
Judge = Callable[[str, str], float]

# Grading these makes math-verify import everything that it needs before any answer is read.
_WARM = (
    ("1", "2"),
    ("\\frac{1}{2}", "0.5"),
    ("x^2+1", "1+x^2"),
    ("(1,2)", "(1, 3)"),
    ("[0,1)", "[0,1]"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("\\sqrt{2}", "2^{1/2}"),
    ("x=3", "3"),
    ("x>2", "(2,\\infty)"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\pi", "3.14159"),
    ("\\text{Monday}", "\\text{Monday}"),
    ("50\\%", "0.5"),
    ("3+4i", "4i+3"),
    ("\\sin x", "\\cos x"),
    ("\\int_0^1 x dx", "\\frac12"),
    ("\\log_2 8", "3"),
    ("90^\\circ", "90"),
    ("\\binom{4}{2}", "6"),
    ("e^{i\\pi/3}", "\\frac{1}{2}+\\frac{\\sqrt{3}}{2}i"),
    ("\\frac{1}{2^{80}}", "\\frac{1}{2^{81}}"),
)


def judge_of(kind: str) -> Judge:
    """The judge for a kind of items, with its library imported and warmed up."""
    return _gym() if kind == "gym" else _math()


def _math() -> Judge:
    from math_verify import (  # pyright: ignore[reportMissingTypeStubs]
        LatexExtractionConfig,
        parse,
        verify,
    )
    from sympy.parsing import sympy_parser  # pyright: ignore[reportMissingTypeStubs]

    # Only LaTeX is parsed: math-verify's parser of plain expressions evaluates them as Python, and so
    # does sympy with the text of each number, unless its parser is replaced.
    import_module("sympy.physics.units")  # it parses the names of its own units on import
    sympy_parser.parse_expr = _number
    config = [LatexExtractionConfig()]

    def read(text: str) -> list[Any]:
        # A line end is a space to LaTeX but ends math-verify's formula, as does an escaped dollar sign.
        text = " ".join(text.split()).rstrip("\\ ")
        return cast("list[Any]", parse(f"${text}$", config, parsing_timeout=cast("int", None)))

    def equal(gold: str, answer: str) -> float:
        one, other = read(gold), read(answer)
        if verify(one, other, timeout_seconds=None):
            return float(not _both_tiny_and_apart(one, other))
        return float(_same_value(one, other))

    _generate()
    for pair in _WARM:
        equal(*pair)
    return equal


def _generate() -> None:
    """Have sympy generate its code for polynomials in up to 26 letters; children may not do so."""
    from sympy.polys.monomials import MonomialOps  # pyright: ignore[reportMissingTypeStubs]

    for letters in range(1, 27):
        code: Any = MonomialOps(letters)
        for name in ("mul", "pow", "mulpow", "ldiv", "div", "lcm", "gcd"):
            getattr(code, name)()


_PLACES, _ZERO, _NEAR, _TINY = 40, 1e-30, 1e-6, 1e-3


def _number_of(parsed: list[Any]) -> Any:
    """The number that was read, with i and e as constants; None for anything else, e.g. with letters."""
    sympy: Any = import_module("sympy")
    if not parsed or not isinstance(parsed[0], sympy.Expr):
        return None
    expression: Any = parsed[0]
    if not expression.free_symbols:
        return expression
    constants: dict[str, Any] = {"i": sympy.I, "e": sympy.E}
    letters = {letter: constants.get(letter.name) for letter in expression.free_symbols}
    return None if None in letters.values() else expression.subs(letters)


def _same_value(gold: list[Any], answer: list[Any]) -> bool:
    """Whether two exact numbers are the same: their difference is zero to thirty digits."""
    one, other = _number_of(gold), _number_of(answer)
    if one is None or other is None:
        return _same_root(gold, answer)
    if one.is_Number and other.is_Number:
        return bool(one == other)
    near = _values(one, other, 15)
    decimals = (one + other).atoms(import_module("sympy").Float)
    if decimals or near is None or abs(near[0] - near[1]) > _NEAR * max(1, abs(near[0])):
        return False
    difference = (one - other).doit()
    if difference.is_Rational:
        return bool(difference == 0)
    value = difference.evalf(_PLACES)
    return bool(value.is_number and value.is_finite and abs(value) < _ZERO * min(1, abs(near[0])))


def _same_root(gold: list[Any], answer: list[Any]) -> bool:
    """Whether two formulas with a root of letters have the same real values, as 1/sqrt(n), sqrt(1/n).

    sympy does not simplify these, since they differ where they are not real; sqrt(x^2) and x differ
    where they are. A formula of either sign at each of these points to thirty digits is the same.
    """
    sympy: Any = import_module("sympy")
    pair = (gold or [None])[0], (answer or [None])[0]
    if not all(isinstance(part, sympy.Expr) for part in pair):
        return False
    letters = sorted(pair[0].free_symbols, key=str)
    powers = [power for part in pair for power in part.atoms(sympy.Pow)]
    roots = any(power.exp.is_Rational and not power.exp.is_Integer for power in powers)
    if not roots or len(letters) > _LETTERS or set(letters) != pair[1].free_symbols:
        return False
    if (pair[0] + pair[1]).atoms(sympy.Float):
        return False
    real = 0
    for point in range(_POINTS):
        places = {x: _place(sympy, point, i) for i, x in enumerate(letters)}
        values = [part.subs(places).evalf(_PLACES) for part in pair]
        finite = [bool(value.is_real and value.is_finite) for value in values]
        if finite[0] != finite[1]:
            return False
        if finite[0] and abs(values[0] - values[1]) > _ZERO * max(1, abs(values[0])):
            return False
        real += finite[0]
    return real >= _POINTS // 4


_LETTERS, _POINTS = 4, 16


def _place(sympy: Any, point: int, letter: int) -> Any:
    """A rational number, of each sign for each letter in some point."""
    value = sympy.Rational(7 * point + 11 * letter + 5, 3 * point + 2 * letter + 4)
    return -value if point >> letter & 1 else value


def _both_tiny_and_apart(gold: list[Any], answer: list[Any]) -> bool:
    """Whether two numbers are equal to six decimal places only because both are nearly zero."""
    one, other = _number_of(gold), _number_of(answer)
    values = None if one is None or other is None else _values(one, other, _PLACES)
    if values is None:
        return False
    largest = max(abs(values[0]), abs(values[1]))
    return bool(largest < _TINY and abs(values[0] - values[1]) > _TINY * largest)


def _values(one: Any, other: Any, places: int) -> tuple[Any, Any] | None:
    """Two numbers to so many digits; None if one of them is not finite."""
    values = one.evalf(places), other.evalf(places)
    return values if all(value.is_number and value.is_finite for value in values) else None


def _number(text: str, **_: Any) -> Any:
    """Replacement of sympy's `parse_expr` that accepts only numbers."""
    from sympy import Float, Integer  # pyright: ignore[reportMissingTypeStubs]

    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:50]!r} is not a number")
    return Float(text) if "." in text else Integer(int(text))


def _gym() -> Judge:
    from reasoning_gym import get_score_answer_fn  # pyright: ignore[reportMissingTypeStubs]

    scorer = cache(cast("Callable[[str], Callable[..., float]]", get_score_answer_fn))

    def score(entry: str, answer: str) -> float:
        row: dict[str, Any] = json.loads(entry)
        name: str = row["metadata"]["source_dataset"]
        return float(scorer(name)(answer=answer, entry=row))

    return score
