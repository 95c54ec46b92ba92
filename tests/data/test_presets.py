"""Each set of the hub, from a local file with the same columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from gdro.data import PRESETS, DataError, load
from gdro.data.rows import read_table
from gdro.rewards import MathVerifier

SAMPLES = Path(__file__).parent / "samples"
WRONG = [f"Incorrect Answer {i}" for i in (1, 2, 3)]

# One row as the hub has it, and the answer in it.
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "dapo-math-14k": ({"prompt": "1+1?", "solution": "2", "ability": "MATH"}, "2"),
    "gsm8k": (
        {"question": "Eggs?", "answer": "1,000 + 234 = <<1000+234=1234>>1234.\n#### 1,234"},
        "1234",
    ),
    "math": (
        {"problem": "x?", "level": "Level 5", "solution": r"So \boxed{1}, no: $\boxed{\frac{1}{2}}$."},
        r"\frac{1}{2}",
    ),
    "math-500": ({"problem": "y?", "solution": "...", "answer": r"\pi", "level": 3}, r"\pi"),
    "aime-2024": (
        {"id": 60, "problem": "z?", "solution": "...", "answer": "204", "year": "2024"},
        "204",
    ),
    "aime-2025": ({"problem": "z?", "answer": "70", "id": "0"}, "70"),
    "amc-23": ({"id": 0, "question": "a?", "answer": 27.0, "url": "u"}, "27"),
    "minerva": ({"question": "b?", "answer": "1.6"}, "1.6"),
    "olympiadbench": (
        {"question": "c?", "final_answer": ["$2^{1009}$"], "subfield": "Algebra"},
        "2^{1009}",
    ),
    "gpqa-diamond": (
        {"Question": "d?", "Correct Answer": "right", "High-level domain": "Physics"}
        | dict(zip(WRONG, ("no", "never", "not"), strict=True)),
        "A",
    ),
}


def test_every_preset_is_tested() -> None:
    assert list(ROWS) == list(PRESETS)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_local_file_has_the_place_of_the_hub(name: str, suffix: str, write, tmp_path: Path) -> None:
    row, answer = ROWS[name]
    path = write("raw.jsonl", [row])
    if suffix == ".parquet":
        parquet = tmp_path / "raw.parquet"
        read_table(path).to_parquet(str(parquet))
        path = parquet
    table = load(name, path)
    assert table["answer"][:] == [answer] and table["source"][:] == [name]
    assert table["prompt"][0].startswith(row[PRESETS[name].problem])
    assert ("level" in table.column_names) == (PRESETS[name].level is not None)


@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name, preset in PRESETS.items() for column in preset.needed]
)
def test_a_missing_column_is_named_with_those_present(name: str, column: str, write) -> None:
    row = {key: value for key, value in ROWS[name][0].items() if key != column}
    with pytest.raises(DataError, match=f"has no column {column!r}; it has {', '.join(row)}"):
        load(name, write("raw.jsonl", [row]))


def test_choices_stay_in_their_order_and_the_letter_is_right(write) -> None:
    row = ROWS["gpqa-diamond"][0]
    rows = [row, {**row, "Question": "another?"}, {**row, "Question": "third?"}]
    table = load("gpqa-diamond", write("raw.jsonl", rows))
    again = load("gpqa-diamond", write("moved.jsonl", rows[::-1]))
    assert sorted(table["prompt"][:]) == sorted(again["prompt"][:])
    assert all(
        f"{answer}) right" in prompt
        for prompt, answer in zip(table["prompt"], table["answer"], strict=True)
    )
    assert len(set(table["answer"][:])) > 1  # not the same letter for all


@pytest.mark.parametrize(
    "error", [ConnectionError("no route\nto host"), FileNotFoundError("no such set")]
)
def test_without_the_hub_there_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError) as caught:
        load("gsm8k")
    said = str(caught.value)
    assert "\n" not in said and "openai/gsm8k" in said and "gdro data gsm8k --from FILE" in said


def test_answers_of_real_sets_are_right_of_themselves_and_of_no_other(verifier: MathVerifier) -> None:
    for name, file, equal in (
        ("gsm8k", "gsm8k.jsonl", set()),
        ("math-500", "math.jsonl", {("15", r"15\mbox{ cm}^2")}),  # units are left out
    ):
        answers = load(name, SAMPLES / file)["answer"][:]
        boxes = [f"So it is $\\boxed{{{answer}}}$." for answer in answers]
        assert all(verifier.score(answers, boxes))
        shifted = zip(
            answers,
            answers[1:] + answers[:1],
            verifier.score(answers, boxes[1:] + boxes[:1]),
            strict=True,
        )
        assert {(a, b) for a, b, same in shifted if same and a != b} == equal


@pytest.fixture(scope="module")
def verifier():
    with MathVerifier() as made:
        yield made
