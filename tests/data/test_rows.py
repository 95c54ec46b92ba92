"""Local files, damaged rows, duplicates, overlap, reasoning-gym, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.cli import main
from gdro.data import DataError, load, load_with_report, normalised, overlap, prompts, statistics
from gdro.data.statistics import kind_of

GOOD = {"problem": "What is 1 + 1?", "answer": "2"}


def test_a_file_of_mine_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('Task,Result,level\n"What is 1 + 1, and\nwhy?",2,easy\nWhat is 2 + 2?,4,hard\n')
    table = load(str(path), problem="Task", answer="Result")
    assert table["answer"][:] == ["2", "4"] and table["level"][:] == ["easy", "hard"]
    assert table["source"][:] == ["mine", "mine"] and "and\nwhy?" in table["prompt"][0]
    with pytest.raises(DataError, match=r"'problem'; it has Task, Result, level; pass --problem COLUMN"):
        load(str(path))
    with pytest.raises(DataError, match=r"'answer'; it has Task, Result, level; pass --answer COLUMN"):
        load(str(path), problem="Task")
    with pytest.raises(
        DataError, match=r"--from nope.csv is for a set of the hub .*, not for '.*mine.csv'"
    ):
        load(str(path), Path("nope.csv"))


@pytest.mark.parametrize("key", ["problem", "question", "prompt"])
def test_usual_columns_are_found(key: str, write) -> None:
    assert load(str(write("own.jsonl", [{key: "1?", "answer": 1}])))["answer"][:] == ["1"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{broken", "it is not JSON"),
        ("[1]", "it is not an object"),
        ({"answer": "3"}, "no text in column 'problem'"),
        ({"problem": "  ", "answer": "3"}, "no text in column 'problem'"),
        ({"problem": 5, "answer": "3"}, "no text in column 'problem'"),
        ({"problem": "p"}, "no answer in column 'answer'"),
        ({"problem": "p", "answer": None}, "no answer in column 'answer'"),
    ],
)
def test_a_damaged_row_is_named_and_skipped_only_if_asked(row, why: str, write) -> None:
    path = write("own.jsonl", [GOOD, row, {"problem": "What is 1 + 2?", "answer": "3"}])
    with pytest.raises(DataError, match=f"own.jsonl, row 2: {why}.*--skip-damaged"):
        load(str(path))
    table, report = load_with_report(str(path), skip_damaged=True)
    assert table["answer"][:] == ["2", "3"] and report.read == 3
    assert len(report.damaged) == 1 and report.damaged[0].startswith(f"row 2: {why}")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl", b"", "has no row that can be read"),
        ("a.jsonl", b"{\n", r"is not a readable table: it is not JSON .*line 2"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8 at byte 0"),
        ("a.json", b"{", "is not a readable table"),
        ("a.json", b"{}", "must hold a list of rows"),
        ("a.parquet", b"PAR1", "is not a readable table"),
        ("a.csv", b"", "has no row that can be read"),
        ("a.txt", b"x", "no set"),
    ],
)
def test_an_unreadable_file_is_one_line(name: str, content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=why):
        load(str(tmp_path / name))


def test_duplicates_go_and_contradictions_are_counted(write) -> None:
    rows = [
        GOOD,
        {"problem": " What is  1 + 1?", "answer": "2"},
        {"problem": "what is $1 + 1$", "answer": "3"},
        {"problem": "What is 1 - 1?", "answer": "0"},
    ]
    path = str(write("own.jsonl", rows))
    table, report = load_with_report(path)
    assert (table["answer"][:], report.duplicates, report.contradictions) == (["2", "0"], 2, 1)
    table, report = load_with_report(path, dedup="exact")
    assert (table["answer"][:], report.duplicates, report.contradictions) == (["2", "3", "0"], 1, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$88 \\div (4 \\div 2)$", "$88 \\div 4 \\div 2$"),
        ("x^2", "x2"),
        ("1.5", "15"),
        ("a < b", "a > b"),
        ("|x|", "x"),
        ("5!", "5"),
        ("x_{12}", "x_{1} 2"),
        ("50%", "50"),
    ],
)
def test_problems_that_differ_stay_two(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


def test_overlap_is_the_same_or_near() -> None:
    long = "A farmer has seven red cows and nine black sheep on three hills near the old town"
    found = overlap(
        ["What is 1+1?", f"{long}. How many?", "Something else"], ["what is $1 + 1$", f"Once, {long}"]
    )
    assert (found.same, found.near) == ([0], [1])


def test_reasoning_gym_is_a_set_like_others() -> None:
    table = load("reasoning-gym:chain_sum?size=5&seed=1&min_terms=2&max_terms=2")
    assert len(table) == 5 and set(table["source"]) == {"reasoning-gym:chain_sum"}
    assert json.loads(table["entry"][0])["metadata"]["source_dataset"] == "chain_sum"
    assert (
        table["prompt_id"][:]
        == load("reasoning-gym:chain_sum?size=5&seed=1&min_terms=2&max_terms=2")["prompt_id"][:]
    )
    for wrong in (
        "reasoning-gym:absent",
        "reasoning-gym:chain_sum?sise=5",
        "reasoning-gym:chain_sum?size=-1",
    ):
        with pytest.raises(DataError, match="reasoning-gym says"):
            load(wrong)


def test_prompts_are_plain_or_a_conversation(write) -> None:
    table = load(str(write("own.jsonl", [GOOD])))
    assert prompts(table, "plain", "")["prompt"][:] == ["What is 1 + 1?"]
    message = prompts(table)["prompt"][0]
    assert message[0]["role"] == "user" and message[0]["content"].endswith("\\boxed{}.")


def test_statistics_count() -> None:
    rows = [
        {"prompt": "abc", "answer": a, "source": "s", "level": 1}
        for a in ("1", "-2", "x", r"\frac{1}{2}")
    ]
    found = dict(statistics(rows))
    assert found["problems"] == "4" and found["source"] == "s 4" and found["level"] == "1 4"
    assert found["answers"] == "integer 2, expression 1, fraction 1"
    assert [kind_of(a) for a in ("B", ".5", "1/2", "1,5")] == [
        "letter",
        "decimal",
        "fraction",
        "expression",
    ]


def test_the_command_says_what_it_did(write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write("eval.jsonl", [GOOD])
    path = write("own.jsonl", [GOOD, GOOD, "{", {"problem": "What is 1 + 2?", "answer": r"\frac{6}{2}"}])
    out = tmp_path / "out.jsonl"
    options = [
        "--skip-damaged",
        "--overlap",
        str(other),
        "--remove-overlap",
        "--check",
        "--to-jsonl",
        str(out),
    ]
    assert main(["data", str(path), *options, "--style", "chat"]) == 0
    said = capsys.readouterr().out
    assert "skipped row 3" in said and "1 the same, 0 near (removed)" in said and "1 of 1" in said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["answer"] for row in rows] == [r"\frac{6}{2}"] and rows[0]["prompt"][0]["role"] == "user"
    assert main(["data", str(path)]) == 2
    assert "row 3" in capsys.readouterr().err
    assert main(["data", str(other), "--overlap", str(other), "--remove-overlap"]) == 2
    assert "no problem is left" in capsys.readouterr().err
    for wrong in (["--remove-overlap"], ["--limit", "0"]):
        assert main(["data", str(path), *wrong]) == 2


@pytest.mark.parametrize("entry", ["[" * 400 + "]" * 400, "9" * 40, '["\\ud800"]', '{"a": 1}'])
def test_a_column_named_entry_of_ones_own_is_left_alone(write, entry: str) -> None:
    path = write("set.jsonl", ['{"problem": "1+1?", "answer": "2", "entry": ' + entry + "}"])
    assert load(str(path)).column_names == ["prompt", "answer", "prompt_id", "source"]


@pytest.mark.parametrize("answer", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_no_answer(write, answer: str) -> None:
    path = write("set.jsonl", ['{"problem": "1+1?", "answer": ' + answer + "}"])
    with pytest.raises(DataError, match="no answer in column 'answer'"):
        load(str(path))
