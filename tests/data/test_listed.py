"""Rows that list their choices: MMLU, MMLU-Pro, ARC, CommonsenseQA, MedQA, MedMCQA, C-Eval, AQuA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.data import DataError, load
from gdro.evaluation.run import judged

GASES = ["neon", "oxygen", "argon", "radon"]
FORMS: dict[str, dict[str, Any]] = {
    "mmlu": {"question": "Which burns?", "subject": "gases", "choices": GASES, "answer": 1},
    "a letter": {"question": "Which burns?", "choices": GASES, "answer": "B"},
    "a letter in brackets": {"question": "Which burns?", "choices": GASES, "answer": "(b)"},
    "the text": {"question": "Which burns?", "choices": GASES, "answer": "oxygen"},
    "a number as text": {"question": "Which burns?", "choices": GASES, "answer": "1"},
    "a whole float": {"question": "Which burns?", "choices": GASES, "answer": 1.0},
    "a list of one": {"question": "Which burns?", "choices": GASES, "answer": [1]},
    "choices as json": {"question": "Which burns?", "choices": json.dumps(GASES), "answer": "B"},
    "mmlu-pro": {
        **{"question_id": 7, "question": "Which burns?", "options": GASES, "category": "gases"},
        **{"answer": "B", "answer_index": 1, "cot_content": ""},
    },
    "arc": {
        "question": "Which burns?",
        "choices": {"text": GASES, "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    },
    "arc, numbered": {
        "question": "Which burns?",
        "choices": {"text": GASES, "label": ["1", "2", "3", "4"]},
        "answerKey": "2",
    },
    "arc, raw": {
        "question": {
            "stem": "Which burns?",
            "choices": [{"text": t, "label": name} for name, t in zip("ABCD", GASES, strict=True)],
        },
        "answerKey": "B",
    },
    "openbookqa": {
        "question_stem": "Which burns?",
        "choices": {"text": GASES, "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    },
    "medqa": {
        "question": "Which burns?",
        "options": dict(zip("ABCD", GASES, strict=True)),
        "answer": "oxygen",
        "answer_idx": "B",
    },
    "medmcqa": {
        "question": "Which burns?",
        **dict(zip(("opa", "opb", "opc", "opd"), GASES, strict=True)),
        "cop": 1,
    },
    "ceval": {"question": "Which burns?", **dict(zip("ABCD", GASES, strict=True)), "answer": "B"},
    "columns": {
        "question": "Which burns?",
        **{f"option_{x}": gas for x, gas in zip("abcd", GASES, strict=True)},
        "correct_option": "b",
    },
    "aqua": {
        "question": "Which burns?",
        "options": [f"{name}){gas}" for name, gas in zip("ABCD", GASES, strict=True)],
        "correct": "B",
    },
}  # fmt: skip
PROMPT = "Which burns?\n\nA) neon\nB) oxygen\nC) argon\nD) radon"


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_forms(tmp_path: Path, form: str, suffix: str) -> None:
    table = load(written(tmp_path / f"set{suffix}", [FORMS[form]]))
    assert (table["prompt"][:], table["answer"][:], table["choices"][:]) == ([PROMPT], ["B"], [4])
    assert table["level"][:] == ["gases"] if form.startswith("mmlu") else "level" not in table[0]


def test_a_sheet_with_a_fifth_choice_in_some_rows(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("question,A,B,C,D,E,answer\n1?,a,b,c,d,,B\n2?,a,b,c,d,e,E\n3?,a,b,c,d,,0\n")
    table = load(str(path))
    assert (table["answer"][:], table["choices"][:]) == (["B", "E", "A"], [4, 5, 4])


def test_what_stands_in_the_problem_is_not_repeated(tmp_path: Path) -> None:
    rows = [{"question": PROMPT, "choices": GASES, "answer": 3}]
    table = load(written(tmp_path / "set.jsonl", rows))
    assert table["prompt"][:] == [PROMPT] and table["answer"][:] == ["D"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": 7}, "'7', which names none of 4 choices; .* its number, counted from 0"),
        ({"answer": -1}, "names none of 4"),
        ({"answer": "E"}, "names none of 4"),
        ({"answer": "helium"}, "names none of 4"),
        ({"answer": "A, B"}, "names none of 4"),
        ({"answer": True}, "is True"),
        ({"answer": None}, "no answer in column 'answer'"),
        ({"answer": float("nan")}, "no answer in column 'answer'"),
        ({"answer": [1, 2]}, "names 2 right choices; one is needed"),
        ({"choices": None}, "no choices in column 'choices'"),
        ({"choices": []}, "0 choices in choices; allowed: 2 to 26"),
        ({"choices": ["neon"]}, "1 choices in choices"),
        ({"choices": ["a"] * 27}, "27 choices"),
        ({"choices": ["neon", "", "argon"]}, "a choice is missing: number 2"),
        ({"choices": ["neon", None]}, "a choice is missing: number 2"),
        ({"choices": ["oxygen", "oxygen", "neon"]}, "'oxygen' stands there twice"),
        ({"choices": "['neon', 'oxygen']"}, "in no JSON; write them with json.dumps"),
        ({"choices": ["1", "2", "3", "4"], "answer": "2"}, "'2', which names several"),
        ({"choices": ["B", "A", "AB", "O"], "answer": "A"}, "'A', which names several"),
        ({"choices": {"text": GASES, "label": ["A", "B"]}}, "4 choices and 2 labels"),
        ({"choices": {"text": GASES, "label": ["A"] * 4}}, "4 choices and 1 labels"),
    ],
)  # fmt: skip
def test_no_choice_or_several_are_one_error(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    good = FORMS["mmlu"]
    path = written(tmp_path / "set.jsonl", [good, {**good, "question": "another?", **change}])
    with pytest.raises(DataError, match=f"row 2: .*{said}"):
        load(path)
    assert len(load(path, skip_damaged=True)) == 1


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (["1", "2", "3", "4"], 2, "C"),  # a number is a place, not a text
        (["4", "3", "2", "1"], "2", "C"),  # both ways
        ([10, 20, 30], 20, "B"),
        (["B", "A", "AB", "O"], "AB", "C"),
        (["A big one", "A small one"], "A small one", "B"),
    ],
)
def test_which_choice_a_number_or_a_letter_is(
    tmp_path: Path, choices: list[Any], answer: Any, letter: str
) -> None:
    rows = [{"question": "1?", "choices": choices, "answer": answer}]
    assert load(written(tmp_path / "set.jsonl", rows))["answer"][:] == [letter]


def test_numbers_from_one_are_refused_as_a_whole(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "choices": GASES, "answer": i} for i in (1, 2, 4, 3)]
    path = written(tmp_path / "set.jsonl", rows)
    with pytest.raises(DataError, match=r"seem to count choices from 1 .* row 3 .* subtract 1"):
        load(path, skip_damaged=True)
    rows[0]["answer"] = 0
    with pytest.raises(DataError, match="row 3: column 'answer' is '4', which names none"):
        load(written(tmp_path / "set.jsonl", rows))


def test_other_columns_of_these_names_are_no_choices(tmp_path: Path) -> None:
    rows = [{"problem": "1+1?", "answer": 2, "options": "hard", "choices": 4}]
    table = load(written(tmp_path / "set.jsonl", rows))
    assert table["answer"][:] == ["2"] and "choices" not in table.column_names


def test_an_evaluation_takes_a_letter_of_the_problems_own() -> None:
    rows = [{"answer": "F", "choices": 10}, {"answer": "B", "choices": 4}, {"answer": "B", "choices": 4}]
    texts = ["The answer is F.", "so \\boxed{B}", "The answer is A or B."]
    assert judged("mine", rows, texts) == [True, True, False]
