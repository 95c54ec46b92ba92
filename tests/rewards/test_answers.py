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
]


def test_answers_of_every_kind(verifier: MathVerifier) -> None:
    verdicts = verifier.score([c["gold"] for c in CASES], [c["completion"] for c in CASES])
    wrong = [case for case, verdict in zip(CASES, verdicts, strict=True) if verdict != case["right"]]
    assert wrong == []


def test_further_forms(verifier: MathVerifier) -> None:
    golds, completions, right = zip(*FURTHER, strict=True)
    verdicts = verifier.score(golds, completions)
    assert [case for case, verdict in zip(FURTHER, verdicts, strict=True) if verdict != case[2]] == []
    assert len(right) == len(FURTHER)


@pytest.mark.parametrize(
    ("unit", "times"),
    [("$", 9000), ("$$", 4500), ("\\boxed{1}, ", 900), ("answer: ", 1200), ("{", 9000), ("<x<", 3000)],
)
def test_repeated_marks_are_read_once(unit: str, times: int) -> None:
    """Quadratic patterns would keep this test running."""
    answer = answer_of(f"The answer is {unit * times}")
    assert answer is None or notation(answer) is not None
