"""The check of equations: right values, and text that would keep a careless pattern busy."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from gdro.rewards import equations_hold
from gdro.rewards.equations import wrong_steps

HOSTILE = """
from gdro.rewards import equations_hold
n = 40_000
texts = ["1+" * n, "1+" + " " * n, "1" + " " * n, "1," * n, "$" * n, "1+1" + " " * n + "=" + " " * n]
texts += ["1" * n + "+" + "2" * n + "=" + "3" * n, "5%*" * n, "1=" * n, ("1+" + " " * 200) * 200]
assert equations_hold(completions=texts) == [None] * len(texts)
"""


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("3 + 4 = 7, 5 + 5 = 11", (2, 1)),
        ("1,200 / 4 = 300 and $1,200 + $ 5 = $1,205", (2, 0)),
        ("20% * 50 = 10; 5 / 20 = 25%; 10 - 12 = -2", (3, 0)),
        ("2 * (3 + 4) = 14 and 3 apples + 4 = 7", (0, 0)),
        ("2 + 2 = 4 = 4 and x + 2 = 5", (0, 0)),
        ("+".join("1" * 30) + "=30", (1, 0)),
        ("+".join("1" * 50) + "=50", (0, 0)),
    ],
)
def test_equations_by_hand(text: str, counts: tuple[int, int]) -> None:
    """Numbers of equations that can be checked, and of the false ones."""
    assert wrong_steps(text) == counts


def test_messages_and_texts_are_scored() -> None:
    chat = [[{"role": "assistant", "content": "3 * 4 = 12"}]]
    assert equations_hold(completions=chat) == [1.0]
    mixed = ["3 * 4 = 13", "2 + 2 = 4 and 3 + 3 = 7", "x = 3"]
    assert equations_hold(completions=mixed) == [0.0, 0.0, None]


def test_any_text_is_read_in_proportion_to_its_length() -> None:
    """Ten texts of 40,000 characters and more; the process is killed after 20 processor seconds."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-c", HOSTILE], preexec_fn=limited, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-500:] or "too slow"
