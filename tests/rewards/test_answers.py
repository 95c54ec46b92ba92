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
    ("5", "<s>The answer is 5</s>", True),
    ("5", "<|im_start|> The answer is 5<|im_end|>", True),
]


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
