"""What a model may write is data: nothing stalls, crashes or runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.rewards import MathVerifier
from gdro.rewards.extract import plain
from gdro.rewards.wire import CRASHED, RIGHT, TOO_SLOW, WRONG
from gdro.rewards.worker import verdicts_of

TEXTS = 10_000 if settings().max_examples >= 10_000 else 1_000  # the first in `make chaos`

FAMILIES = {
    "tower of powers": lambda n: "9^{" * n + "9" + "}" * n,
    "tower of stars": lambda n: "9" + "**9" * n,
    "long sum": lambda n: "+".join(["\\frac{1}{3}"] * n),
    "sum sign": lambda n: rf"\sum_{{k=1}}^{{{10**n}}} \frac{{1}}{{k^3}}",
    "product sign": lambda n: rf"\prod_{{k=1}}^{{{10**n}}} k",
    "parentheses": lambda n: "(" * n + "1" + ")" * n,
    "open parentheses": lambda n: "(" * n,
    "braces": lambda n: "{" * n + "1" + "}" * n,
    "fractions": lambda n: "\\frac{1}{" * n + "2" + "}" * n,
    "roots": lambda n: "\\sqrt{" * n + "2" + "}" * n,
    "root of a tower": lambda n: rf"\sqrt[{n}]{{2^{{{10**n}}}}}",
    "factorial": lambda n: f"({10**n})!",
    "factorials": lambda n: "5" + "!" * n,
    "binomial": lambda n: rf"\binom{{{10**n}}}{{{10**n // 2}}}",
    "integral": lambda n: rf"\int_0^1 x^{{{n}}} \sin(x^{{{n}}}) e^{{x^{{{n}}}}} dx",
    "limit": lambda n: rf"\lim_{{x \to 0}} \frac{{\sin(x^{{{n}}})}}{{x^{{{n}}}}}",
    "matrix": lambda n: r"\begin{pmatrix}" + r"\\".join(["&".join("12345")] * n) + r"\end{pmatrix}",
    "power of a matrix": lambda n: rf"\begin{{pmatrix}}1&1\\1&0\end{{pmatrix}}^{{{10**n}}}",
    "set": lambda n: r"\{" + ",".join(f"x_{{{i}}}" for i in range(n)) + r"\}",
    "union": lambda n: r" \cup ".join(f"[{i},{i + 0.5}]" for i in range(n)),
    "equations": lambda n: "=".join(f"x^{i}" for i in range(n)),
    "logs": lambda n: "\\log_{2}{" * n + "2" + "}" * n,
    "trigonometry": lambda n: "\\sin(" * n + "x" + ")" * n,
    "expansion": lambda n: rf"(x+y+z+1)^{{{10**n}}}",
    "digits": lambda n: "7" * (30 * n),
    "exponent notation": lambda n: f"1e{10**n}",
    "absolute values": lambda n: "|" * n + "x" + "|" * n,
    "text": lambda n: r"\text{" * n + "a" + "}" * n,
    "left right": lambda n: r"\left(" * n + "1" + r"\right)" * n,
    "control": lambda n: "\x00\x1b[2J\ud800" * n,
    "python": lambda n: "__import__('os').system('true')" + ";1" * n,
    "dollars": lambda n: "$" * n + "1" + "$" * n,
    "modulus": lambda n: rf"7^{{{10**n}}} \bmod {10**n}",
    "determinant": lambda n: (
        r"\det\begin{pmatrix}" + r"\\".join(["&".join("x" * n)] * n) + r"\end{pmatrix}"
    ),
    "derivatives": lambda n: r"\frac{d}{dx}" * n + rf"(x^{{{10**n}}})",
    "continued fraction": lambda n: "1+\\frac{1}{" * n + "x" + "}" * n,
    "mixed numbers": lambda n: " ".join(["1\\frac{1}{2}"] * n),
    "inequalities": lambda n: " < ".join(f"x_{i}" for i in range(n)),
    "floors": lambda n: r"\lfloor " * n + rf"10^{{{10**n}}}/3" + r"\rfloor " * n,
    "percent": lambda n: "5" + r"\%" * n,
    "nested sums": lambda n: r"\sum_{i=1}^{9}" * n + "i",
}
SIZES = (25, pytest.param(3, marks=pytest.mark.weekly), pytest.param(9, marks=pytest.mark.weekly))


@pytest.mark.parametrize("size", SIZES)
def test_every_family_is_answered(size: int) -> None:
    """Against three golds in turn: a result, and good answers are judged after it."""
    assert len(FAMILIES) >= 20
    golds = ["1", "\\frac{1}{2}", "x"]
    items = [(golds[at % 3], family(size)) for at, family in enumerate(FAMILIES.values())]
    with MathVerifier(workers=2, timeout_s=0.3) as verifier:
        found = verifier.score([g for g, _ in items], [f"\\boxed{{{a}}}" for _, a in items])
        assert len(found) == len(items)
        right = verifier.compare([g for g, _ in items], [a for _, a in items]).count(True)
        assert right < len(items) / 3
        # The limit is short for a busy machine, so that a good answer may need another try.
        tries = (verifier.compare(["\\frac{1}{2}"] * 4, ["2^{-1}"] * 4) for _ in range(20))
        assert any(found == [True] * 4 for found in tries)


def test_a_slow_answer_is_wrong_and_those_beside_it_are_not_lost() -> None:
    slow = "9^{9^{9^{9}}}"  # minutes
    golds = ["\\frac{1}{2}"] * 40
    answers = ["2^{-1}"] * 40
    for at in (0, 7, 39):
        answers[at] = slow
    with MathVerifier(workers=2, timeout_s=2.0) as verifier:
        assert verifier.compare(golds, answers) == [answer != slow for answer in answers]
        assert verifier.timeouts == 3


def test_a_megabyte_is_answered(verifier: MathVerifier) -> None:
    big = [
        "1+" * 500_000 + "1",
        "\\boxed{" + "{" * 500_000,
        "9" * 1_000_000,
        "a " * 500_000 + "Answer: 3",
    ]
    assert verifier.score(["2", "2", "2", "3"], big) == [False, False, False, True]


@given(st.lists(st.text(st.characters(), max_size=60), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_random_texts_are_answered(verifier: MathVerifier, texts: list[str]) -> None:
    """Surrogates and control characters too."""
    golds = ["\\frac{1}{2}"] * len(texts)
    assert not any(verifier.compare(golds, texts))
    assert len(verifier.score(texts, [f"\\boxed{{{text}}}" for text in texts])) == len(texts)


LETTERS = "\\{}()[]^_$&|,.;:!?'\"<>=+-*/0123456789xyzπ∞√ \n\x00\ud800"
SEEDS = (
    r"\frac{1}{2}",
    r"\left(3,\frac{\pi}{2}\right)",
    r"\sqrt[3]{x+1}",
    r"\{1,2\}",
    "x^2+2x+1",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    r"\text{Monday}",
    r"12\%",
)


def mutated(rng: random.Random) -> str:
    """A good answer with up to four letters changed, put in, or left out."""
    text = list(rng.choice(SEEDS))
    for _ in range(rng.randint(0, 4)):
        at, letter = rng.randrange(len(text)), rng.choice(LETTERS)
        text[at : at + rng.randint(0, 1)] = rng.choice(([letter], [letter] * 2, []))
        text = text or ["0"]
    return "".join(text)


def noise(rng: random.Random) -> str:
    """Any code points: control characters, surrogates, all planes."""
    most = rng.choice((0x20, 0x80, 0x2000, 0x110000))
    return "".join(chr(rng.randrange(most)) for _ in range(rng.randint(0, 40)))


def test_thousands_of_texts_are_answered(verifier: MathVerifier) -> None:
    rng = random.Random(0)
    texts = [(noise if i % 4 == 0 else mutated)(rng) for i in range(TEXTS)]
    golds = [SEEDS[i % len(SEEDS)] for i in range(len(texts))]
    right = verifier.compare(golds, texts)
    assert len(right) == TEXTS and TEXTS / 100 < sum(right) < TEXTS / 5
    assert len(verifier.score(texts[:500], [f"\\boxed{{{text}}}" for text in texts[:500]])) == 500


def test_equal_texts_at_once_are_what_math_verify_says_of_any_text(verifier: MathVerifier) -> None:
    """The short cut is held to the workers' own verdict, for texts that are no mathematics too."""
    rng = random.Random(1)
    texts = [text for text in (plain(mutated(rng)) for _ in range(500)) if text]
    verdicts = verifier._pool.judge([(text, text) for text in texts])
    assert set(verdicts) == {RIGHT}


def misbehave(gold: str, answer: str) -> float:
    """A judge that does what a hostile answer would have it do."""
    if gold == "write":
        Path(answer).write_text("x")
    elif gold == "read":
        return float(bool(Path(answer).read_text()))
    elif gold == "run":
        import subprocess

        subprocess.run([answer])
    elif gold == "connect":
        import socket

        socket.create_connection(("127.0.0.1", 9), 1)
    elif gold == "eval":
        return float(eval(answer))
    elif gold == "memory":
        return float(len(bytearray(2**40)))
    elif gold == "recursion":
        return misbehave(gold, answer)
    elif gold == "loop":
        while True:
            pass
    return 1.0


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("write", "written", CRASHED),
        ("read", "/etc/hostname", CRASHED),
        ("run", "true", CRASHED),
        ("connect", "", CRASHED),
        ("eval", "1", CRASHED),
        ("memory", "", CRASHED),
        ("recursion", "", CRASHED),
        ("loop", "", TOO_SLOW),
        ("fine", "", RIGHT),
    ],
)
def test_a_worker_is_confined(
    gold: str, answer: str, verdict: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = verdicts_of([("fine", ""), (gold, answer), ("fine", "")], misbehave, 0.5, 256 << 20)
    assert found == ([RIGHT] * 3 if verdict == RIGHT else [RIGHT, verdict])
    assert not list(tmp_path.iterdir())


def test_python_in_an_answer_is_not_run(verifier: MathVerifier, tmp_path: Path) -> None:
    target = tmp_path / "written"
    codes = [f"open({str(target)!r}, 'w').close()", f"__import__('os').mkdir({str(target)!r})"]
    texts = [form.format(code) for code in codes for form in ("{}", "$x={}$", "1+{}", "\\sin({})")]
    assert not any(verifier.compare(["1"] * len(texts), texts))
    assert not target.exists()


def test_wrong_is_no_crash() -> None:
    assert verdicts_of([("a", "b")], lambda gold, answer: float(gold == answer), 1.0, 256 << 20) == [
        WRONG
    ]


def test_messages_carry_any_text() -> None:
    import io

    from gdro.rewards.wire import receive, send

    stream = io.BytesIO()
    message = [["\ud800\x00", json.dumps("é")]]
    send(stream, message)
    whole = stream.getvalue()
    assert receive(io.BytesIO(whole)) == message
    for cut in range(len(whole)):
        assert receive(io.BytesIO(whole[:cut])) is None
