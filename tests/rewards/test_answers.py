"""Answers as models write them, after public bug reports of verifiers: each is judged right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gdro.rewards import MathVerifier
from gdro.rewards.extract import answer_of
from gdro.rewards.notation import notation

CASES = [json.loads(line) for line in (Path(__file__).parent / "answers.jsonl").read_text().splitlines()]
# Further forms of the same kinds, which no report names.
FURTHER = [
    ("18", "The answer is 18 apples, since 9 + 9 = 18.", True),
    ("18", "The answer is **18**.", True),
    ("18", "**Final answer**: 18<|im_end|>", True),
    ("18", "Answer: 18 or 19", False),
    ("3, 4", "So $x=\\boxed{3}$ or $x=\\boxed{4}$.", True),
    ("3", "So $x=\\boxed{3}$ or $x=\\boxed{4}$.", False),
    ("4", "First \\boxed{3}, as was asked. The second part gives \\boxed{4}.", True),
    ("5", "<think>\\boxed{4}</think>\n\\boxed{5}", True),
    ("4", "<think>it must be \\boxed{4}", False),
    ("\\frac{3}{4}", "\\boxed{¾}", True),
    ("x^2", "\\boxed{x²}", True),
    ("\\sqrt{x+1}", "\\boxed{√(x+1)}", True),
    ("-7", "\\boxed{−7}", True),
    ("1234567", "\\boxed{1\\,234\\,567}", True),
    ("123, 456", "\\boxed{123456}", False),
    ("4 \\times 10^{-7}", "\\boxed{4e-7}", True),
    ("4 \\times 10^{-7}", "\\boxed{4e-8}", False),
    ("e-7", "\\boxed{1e-07}", False),
    ("\\frac{1}{6}", "\\boxed{0.1\\overline{6}}", True),
    ("\\frac{11}{4}", "\\boxed{2\\frac{3}{4}}", True),
    ("[2,\\infty)", "\\boxed{x \\ge 2}", True),
    ("(2,\\infty)", "\\boxed{x \\ge 2}", False),
    ("(-1,3]", "\\boxed{-1 < x \\leq 3}", True),
    ("(-1,3]", "\\boxed{3 \\geq x > -1}", True),
    ("101_2", "\\boxed{101_3}", False),
    ("7", "\\boxed7", True),
    ("B", "\\boxed{\\text{B}}", True),
    ("B", "\\boxed{\\textbf{(D)}\\ 7}", False),
    ("2^{3000}", "\\boxed{2^{3000}+1}", False),
    ("\\frac{\\sqrt{2}}{2}", "\\boxed{\\sin(\\pi/4)}", True),
    ("10", "\\boxed{\\textcolor{red}{\\mathbf{10}}}", True),
    ("45", "\\boxed{45\\mathrm{~km/h}}", True),
    ("$2$ or $3$", "The answer is $5$ or $7$.", False),
    ("2, 3", "The answer is $2$ or $3$.", True),
    ("5", "The answer is $x = 5$.", True),
    ("7", "The answer is -$7$", False),
    ("2^{2024}-n", "\\boxed{2^{2024}+n}", False),
    ("2^{50}+\\sqrt{2}", "\\boxed{2^{50}+\\sqrt{3}}", False),
    ("x", "\\boxed{|x|}", False),
    ("5", "<think>" + "x " * 6000 + "\\boxed{5}", False),
    ("7", "[THINK]\\boxed{7}[/THINK] The answer is 8.", False),
    ("7", "<|channel|>analysis<|message|>\\boxed{7}<|end|><|channel|>final<|message|>\\boxed{8}", False),
    ("9", "The answer is 5<|im_end|>\n<|im_start|>user\nWhat is \\boxed{9}?", False),
    ("A", "\\boxed{(A) or (B)}", False),
    ("E", "\\boxed{E = mc^2}", False),
    ("2 \\sin x", "The answer is 2 cos x", False),
    ("12", "The answer is 12 factorial", False),
    ("7", "The answer is 7, but I mean 8", False),
    ("5", "so it is .5", False),
    ("5", "so it is x^5", False),
    ("12", "\\boxed\\frac{5}{12}", False),
    ("1101_2", "\\boxed{1101₂}", True),
    ("-3", "\\boxed{12–15}", False),
    ("x>3", "\\boxed{t>3}", False),
    (9007199254740993, "\\boxed{9007199254740993}", True),
    (9007199254740993, "\\boxed{9007199254740992}", False),
    ("5", "\\boxed{{}_{9999}P_{9999}}", False),
    ("-1", "\\boxed{e^{i\\pi}}", True),
    ("\\frac{4}{9}", "\\boxed{0.\\dot{4}}", True),
    ("-12", "\\boxed{negative 12}", True),
    ("-12", "The answer is minus 12 dollars.", True),
    ("12", "The answer is negative 12 dollars.", False),
    ("-12", "The answer is negative **12**.", True),
    ("-\\frac{3}{2}", "The answer is negative $\\frac{3}{2}$.", True),
    ("\\frac{3}{2}", "The answer is negative $\\frac{3}{2}$.", False),
    ("12", "so it is negative 12", False),
    ("-12", "so it equals minus 12", True),
    ("-7", "The answer is 5 minus 12", True),
    ("-5", "it was 7 minus 5", False),
    ("-12", "\\boxed{\\text{minus }12}", True),
    ("12", "\\boxed{positive 12}", True),
    ("12", "\\boxed{nonnegative 12}", False),
    ("(-2,3)", "\\boxed{(negative 2, 3)}", True),
    ("-2, 3", "\\boxed{negative 2 and 3}", True),
    ("2, 3", "\\boxed{negative 2 and 3}", False),
    ("negative 12", "\\boxed{-12}", True),
    ("negative 12", "\\boxed{12}", False),
    ("\\text{negative}", "\\boxed{positive}", False),
    ("\\sqrt{1/n}", "\\boxed{\\frac{1}{\\sqrt{n}}}", True),
    ("\\sqrt{1/n}", "\\boxed{-\\frac{1}{\\sqrt{n}}}", False),
    ("x", "\\boxed{\\sqrt{x^2}}", False),
    ("\\sqrt{xy}", "\\boxed{\\sqrt{x}\\sqrt{y}}", False),
    ("\\sqrt{x+1}", "\\boxed{\\sqrt{x}+1}", False),
    ("x\\sqrt{x}", "\\boxed{\\sqrt{x^3}}", True),
    ("5", "<s>The answer is 5</s>", True),
    ("5", "<|im_start|> The answer is 5<|im_end|>", True),
]

# A gold (2,3) may be a point or an interval: both forms fit, but no other set, list or bracket.
POINTS = [
    *(("(2,3)", answer, True) for answer in ("(2, 3)", "(2.0,3)", "x=2, y=3", "P(2,3)")),
    *(("(2,3)", answer, True) for answer in ("\\langle 2,3\\rangle", "2<x<3", "]2,3[", "(2;3)")),
    *(("(2,3)", answer, True) for answer in ("x\\in(2,3)", "\\{x\\mid 2<x<3\\}")),
    *(("(2,3)", answer, False) for answer in ("[2,3]", "(2,3]", "[2,3[", "2\\le x\\le 3")),
    *(("(2,3)", answer, False) for answer in ("2<x\\le 3", "2<x<4", "(3,2)", "]3,2[", "3<x<2")),
    *(("(2,3)", answer, False) for answer in ("x=3, y=2", "(2,3,4)", "x>2", "2", "3", "\\{2,3\\}")),
    *(("(2,3)", answer, False) for answer in ("2 or 3", "(2,3)\\cup(4,5)", "(2,3), (3,2)", "5")),
    *(("(3,2)", answer, False) for answer in ("3<x<2", "2<x<3", "]3,2[")),
    *(("(x,y)=(2,3)", answer, False) for answer in ("2<x<3", "]2,3[", "[2,3]", "(3,2)")),
    *(("x=2, y=3", answer, False) for answer in ("2<x<3", "]2,3[")),
    *(("\\{2,3\\}", answer, False) for answer in ("(2,3)", "[2,3]", "2<x<3", "(3,2)")),
    *(("\\{2,3\\}", answer, True) for answer in ("3, 2", "\\{3,2\\}", "x\\in\\{2,3\\}")),
    *(("2, 3", answer, False) for answer in ("2<x<3", "]2,3[")),
    *(("2<x<3", answer, True) for answer in ("(2,3)", "]2,3[", "x\\in(2,3)")),
    *(("2<x<3", answer, False) for answer in ("[2,3]", "(2,3]", "(x,y)=(2,3)", "\\{2,3\\}", "2, 3")),
    *(("[2,3]", answer, True) for answer in ("2\\le x\\le 3", "[2;3]")),
    *(("[2,3]", answer, False) for answer in ("(2,3)", "2<x<3", "]2,3[", "\\{2,3\\}")),
    *(("(3,\\frac{\\pi}{2})", answer, False) for answer in ("3<x<\\pi/2", "]3,\\pi/2[")),
    *(("(3,\\frac{\\pi}{2})", answer, True) for answer in ("(3,\\pi/2)", "r=3, \\theta=\\pi/2")),
    *(("(1,\\frac{\\pi}{2})", answer, True) for answer in ("1<x<\\frac{\\pi}{2}", "(1, \\pi/2)")),
    *(("(\\sqrt{2},3)", answer, True) for answer in ("]\\sqrt{2},3[", "\\sqrt{2}<x<3")),
    ("D=(0,4)", "0<x<4", True),
    ("(-\\infty,2)", "x<2", True),
    ("(2,\\infty)", "x\\ge 2", False),
    ("(2,3)\\cup(4,5)", "2<x<3 or 4<x<5", True),
    ("(2,3)\\cup(4,5)", "(2,3)\\cup[4,5)", False),
    ("(2,3),(4,5)", "(2,3)\\cup(4,5)", False),
    ("6", "P(3,2)", False),
]  # fmt: skip


def test_answers_of_every_kind(verifier: MathVerifier) -> None:
    verdicts = verifier.score([c["gold"] for c in CASES], [c["completion"] for c in CASES])
    wrong = [case for case, verdict in zip(CASES, verdicts, strict=True) if verdict != case["right"]]
    assert wrong == []


def test_what_is_not_finite_is_no_crash(verifier: MathVerifier) -> None:
    odd = (r"\frac{1}{0}", r"\infty", r"\frac{0}{0}", r"\ln 0")
    before = verifier.crashes
    assert verifier.compare([*odd, r"\sqrt{2}"], [r"\sqrt{2}"] * 4 + [r"\infty"]) == [False] * 5
    assert verifier.crashes == before


def test_further_forms(verifier: MathVerifier) -> None:
    golds, completions, right = zip(*FURTHER, strict=True)
    verdicts = verifier.score(golds, completions)
    assert [case for case, verdict in zip(FURTHER, verdicts, strict=True) if verdict != case[2]] == []
    assert len(right) == len(FURTHER)


def test_points_and_intervals(verifier: MathVerifier) -> None:
    golds, answers, right = zip(*POINTS, strict=True)
    verdicts = verifier.score(golds, [f"So it is \\boxed{{{answer}}}." for answer in answers])
    assert [case for case, verdict in zip(POINTS, verdicts, strict=True) if verdict != case[2]] == []
    assert len(right) == len(POINTS)


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("$", 9000),
        ("$$", 4500),
        ("\\boxed{1}, ", 900),
        ("answer: ", 1200),
        ("{", 9000),
        ("<x<", 3000),
        ("\\{x|" + " " * 900, 1),
    ],
)
def test_repeated_marks_are_read_once(unit: str, times: int) -> None:
    """Quadratic patterns would keep this test running."""
    answer = answer_of(f"The answer is {unit * times}")
    assert answer is None or notation(answer) is not None
