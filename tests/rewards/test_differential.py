"""Three judges, one verdict: at once, in a confined worker, and math-verify without confinement."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import settings

from gdro.rewards import MathVerifier
from gdro.rewards.verifier import _at_once
from gdro.rewards.wire import RIGHT, WRONG

LONG = settings().max_examples >= 10_000  # `make chaos`
PAIRS = 1_000 if LONG else 80
MUTATED = 100_000 if LONG else 10_000
AT_ONCE = 10_000 if LONG else 500

UNCONFINED = """
import json, logging, sys
from gdro.rewards.judges import judge_of
logging.disable()
judge = judge_of("math")
json.dump([round(100 * judge(*pair)) for pair in json.load(sys.stdin)], sys.stdout)
"""

Polynomial = Counter[tuple[str, ...]]  # coefficients by sorted letters


def times(one: Polynomial, other: Polynomial) -> Polynomial:
    found: Polynomial = Counter()
    for (a, x), (b, y) in product(one.items(), other.items()):
        found[tuple(sorted(a + b))] += x * y
    return found


def written(polynomial: Polynomial, rng: random.Random) -> str:
    terms = [(letters, factor) for letters, factor in polynomial.items() if factor]
    rng.shuffle(terms)
    text = ""
    for letters, factor in terms:
        body = " ".join(letters)
        size = "" if abs(factor) == 1 and body else str(abs(factor))
        text += ("-" if factor < 0 else "+" if text else "") + size + " " + body
    return text or "0"


def sums(letters: str, rng: random.Random) -> Polynomial:
    """A sum or difference of two letters, or of a letter and a number."""
    one, other = rng.sample(letters, 2)
    second = () if rng.random() < 0.2 else (other,)
    return Counter({(one,): rng.choice((1, 1, 2)), second: rng.choice((1, 1, -1, 3))})


def identity(rng: random.Random, right: bool) -> tuple[str, str]:
    """A product or fraction of sums, and what it is multiplied out, or nearly."""
    letters = "".join(rng.sample("abcxyzmnpqrstuvw", rng.randint(2, 4)))
    factors = [sums(letters, rng) for _ in range(3 if LONG and rng.random() < 0.3 else 2)]
    whole: Polynomial = Counter({(): 1})
    for factor in factors:
        whole = times(whole, factor)
    if not right:
        whole[rng.choice(list(whole))] += 7
    gold = "".join(f"({written(factor, rng)})" for factor in factors)
    answer = written(whole, rng)
    if rng.random() < 0.7:
        above = rng.choice([*letters, "1", "2"])
        return rf"\frac{{{above}}}{{{gold}}}", rf"\frac{{{above}}}{{{answer}}}"
    return gold, answer


def test_the_issue_of_three_letters(verifier: MathVerifier) -> None:
    gold = r"\frac{1}{(a+b)(b+c)}"
    assert verifier.compare([gold], [r"\frac{1}{ab+ac+b^2+bc}"]) == [True]
    assert verifier.compare([gold], [r"\frac{1}{ab+ac+b^2+2bc}"]) == [False]


@pytest.mark.weekly
def test_confinement_changes_no_verdict(verifier: MathVerifier) -> None:
    rng = random.Random(0)
    pairs = [identity(rng, right=i % 2 == 0) for i in range(PAIRS)]
    confined = verifier._pool.judge(pairs)
    command = [sys.executable, "-c", UNCONFINED]
    done = subprocess.run(command, input=json.dumps(pairs), capture_output=True, text=True, check=True)
    free = json.loads(done.stdout)
    differ = [(pair, a, b) for pair, a, b in zip(pairs, confined, free, strict=True) if a != b]
    assert not differ
    assert confined.count(RIGHT) > PAIRS / 3 and confined.count(WRONG) > PAIRS / 3


NUMBERS = (
    "13",
    "13.0",
    r"\frac{26}{2}",
    "-7",
    "-7.0",
    "0",
    "0.0",
    "0.5",
    "0.50",
    r"\frac{1}{2}",
    "3.00",
    "18.0",
    "18",
    r"-\frac{6}{4}",
    "-1.5",
    r"\dfrac{3}{1}",
    "3",
    "1000",
    "1000.0",
    "2.50",
    "2.5",
)
SIGNS = "0123456789.-\\{},/ ٣३３²½−+eE%_"


def mutated(number: str, most: int, rng: random.Random) -> str:
    """A number with up to so many signs changed, put in, or left out."""
    text = list(number)
    for _ in range(rng.randint(0, most)):
        at = rng.randrange(len(text) + 1)
        text[at : at + rng.randint(0, 1)] = rng.choice(([rng.choice(SIGNS)], []))
    return "".join(text)


def form(value: Fraction, rng: random.Random) -> str:
    """A number as a decimal, where it is one, or as a fraction that may not be in lowest terms."""
    if rng.random() < 0.5 and 1000 % value.denominator == 0:
        text = f"{float(value):.3f}".rstrip("0").rstrip(".")
        zeros = "0" * rng.randint(0, 2)
        return text + (zeros if "." in text or not zeros else "." + zeros)
    over, under, times = abs(value.numerator), value.denominator, rng.randint(1, 3)
    sign = "-" if value < 0 else ""
    return sign + rng.choice(("\\", "\\d", "\\t")) + f"frac{{{over * times}}}{{{under * times}}}"


def numbers(rng: random.Random) -> tuple[str, str]:
    """A gold and an answer: two numbers of the table, or the same one in two forms, and then mutated."""
    if rng.random() < 0.5:
        return rng.choice(NUMBERS), mutated(rng.choice(NUMBERS), 3, rng)
    value = Fraction(rng.randint(-2000, 2000), rng.choice((1, 2, 3, 4, 5, 7, 8, 12, 20, 100)))
    return form(value, rng), mutated(form(value, rng), 1, rng)


def test_what_is_said_at_once_is_what_a_worker_says(verifier: MathVerifier) -> None:
    """Of all that are drawn, pairs with a verdict at once, each once; of many a sample."""
    rng = random.Random(2)
    said = {pair: _at_once(*pair) for pair in sorted({numbers(rng) for _ in range(MUTATED)})}
    pairs: list[tuple[str, str]] = []
    for verdict in (True, False):
        found = [p for p, at_once in said.items() if at_once is verdict and p[1].strip()]
        pairs += rng.sample(found, min(len(found), AT_ONCE))
        assert len(found) > AT_ONCE / 2
    theirs = verifier._pool.judge(pairs)
    differ = [p for p, verdict in zip(pairs, theirs, strict=True) if said[p] is not (verdict == RIGHT)]
    assert not differ


@pytest.mark.parametrize("answer", ["1٣", "१३", "１３", "1²"])
def test_digits_of_other_scripts_are_nothing_at_once(answer: str) -> None:
    assert _at_once("13", answer) is None


@pytest.mark.parametrize(("gold", "answer"), [("13.0", "13 .0"), ("2.5", "2. 5"), ("-40.50", "-40 .50")])
def test_a_number_with_a_space_inside_is_left_to_a_worker(gold: str, answer: str) -> None:
    assert _at_once(gold, answer) is None
