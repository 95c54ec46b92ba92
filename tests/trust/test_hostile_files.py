"""Files of data and other files that gdro reads: one clear error each, and names that stay names."""

from __future__ import annotations

import io
import json
import random
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.cli import main
from gdro.cli.tables import print_table
from gdro.common.files import read_json
from gdro.common.untrusted import printable
from gdro.data import DataError, load_with_report
from gdro.errors import GdroError, StudyError
from gdro.evaluation.records import EvaluationError, read_records
from gdro.recipes.evaluations import lines_of
from gdro.study.runner import read_runs
from trust import logfuzz

GOOD = {"problem": "1 + 1?", "answer": "2", "level": 1}
DEEP, LONG = "[" * 100_000, "9" * 5000
ROWS = {
    "deep": f'{{"problem": {DEEP}',
    "a long number": f'{{"problem": "p", "answer": {LONG}}}',
    "a large level": '{"problem": "p", "answer": "1", "level": 1' + "0" * 400 + "}",
    "a level of levels": '{"problem": "p", "answer": "1", "level": {"a": 1}}',
    "half in the problem": r'{"problem": "p \ud800", "answer": "1"}',
    "half in the answer": r'{"problem": "p", "answer": "\udfff"}',
    "half in the level": r'{"problem": "p", "answer": "1", "level": "\ud800"}',
    "no object": "[1]",
    "words": "not JSON",
}


@pytest.mark.parametrize("row", sorted(ROWS))
def test_one_damaged_row_is_one_error_that_can_be_skipped(tmp_path, row):
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{ROWS[row]}\n")
    with pytest.raises(DataError, match=r"row 2: .*--skip-damaged") as error:
        load_with_report(str(path))
    assert len(str(error.value)) < 500
    table, report = load_with_report(str(path), skip_damaged=True)
    assert table["prompt"][:] == ["1 + 1?"] and len(report.damaged) == 1


@pytest.mark.parametrize("text", [DEEP, f"[{LONG}]", "{", '"' + "a" * 9, "[1]", "{}"])
def test_a_file_that_is_damaged_as_a_whole(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    (tmp_path / "mine.csv").write_text("problem,answer\n" + '"' + "a" * 200_000)
    for name in ("mine.json", "mine.csv"):
        with pytest.raises(DataError, match=name):
            load_with_report(str(tmp_path / name))
    with pytest.raises(GdroError, match=r"mine\.json"):
        read_json(tmp_path / "mine.json", ("a",))


def test_levels_of_several_types_are_one_column(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [
        {**GOOD, "problem": f"{i}?", "level": level} for i, level in enumerate((1, "two", 2.5, None))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_with_report(str(path))[0]["level"][:] == ["1", "two", "2.5", None]


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\u202e\x9b31m[/red][bold]"


def test_names_move_no_cursor_and_are_no_markup(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({**GOOD, "level": HOSTILE}) + "\n" + json.dumps({HOSTILE: 1}) + "\n")
    assert main(["data", str(path), "--skip-damaged"]) == 0
    assert main(["data", str(path), "--problem", HOSTILE]) == 2
    path.write_text(json.dumps({HOSTILE: 1}) + "\n")
    assert main(["data", str(path)]) == 2
    print_table((HOSTILE,), [[HOSTILE]])
    said = "".join(capsys.readouterr())
    assert "\\x1b[2J" in said and "[/red]" in said.replace("\n", "")
    assert all(c.isprintable() or c == "\n" for c in said)


def test_what_cannot_be_encoded_is_printed_still(tmp_path):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({**GOOD, "level": "\u00e9"}) + "\n")
    with redirect_stdout(out), redirect_stderr(io.TextIOWrapper(io.BytesIO(), encoding="ascii")):
        assert main(["data", str(path)]) == 0
        assert main(["data", str(tmp_path / "\udcff.jsonl")]) == 2


@given(st.text())
def test_printable_is_printable_and_leaves_what_is(text):
    made = printable(text)
    assert all(c.isprintable() or c == "\n" for c in made) and made.encode() is not None
    assert printable(made) == made and (made == text or not text.replace("\n", "").isprintable())


SAMPLE = {
    "set": "s",
    "prompt_id": "p",
    "source": "s",
    "level": "",
    "right": [True, False],
    "answers": ["1", None],
    "tokens": [3, 4],
    "texts": ["a", "b"],
}
RUN = {"key": "k", "testbed": "t", "arm": "a", "seed": 1, "task": "x", "pass8": 0.5, "tokens": 3}
LINE = {"step": 3, "curves": {"reward": [1.0]}}


@given(random=st.randoms(use_true_random=False))
def test_mutated_evaluations_studies_and_lines(tmp_path_factory, random: random.Random):
    folder = tmp_path_factory.mktemp("files")
    kinds = {
        "samples.jsonl": (SAMPLE, lambda: read_records(folder), EvaluationError),
        "runs.jsonl": (RUN, lambda: read_runs(folder / "runs.jsonl"), StudyError),
        "evaluations.jsonl": (LINE, lambda: lines_of(folder / "evaluations.jsonl"), GdroError),
    }
    for name, (record, read, error) in kinds.items():
        path = folder / name
        path.write_text("".join(json.dumps(record) + "\n" for _ in range(3)))
        assert len(read()) == 3
        path.write_bytes(logfuzz.mutated(path.read_bytes(), random))
        try:
            for found in read():
                if name == "samples.jsonl":
                    assert all(type(n) is int for n in found.tokens if n is not None)
                    assert len(found.right) == len(found.texts)
                elif name == "runs.jsonl":
                    hash((found["key"], found["testbed"], found["arm"], found["seed"]))
        except error as refused:
            assert name in str(refused)


@given(random=st.randoms(use_true_random=False))
def test_mutated_data_files(tmp_path_factory, random: random.Random):
    """Rows, values and bytes: a table, or a DataError; with `--skip-damaged` what is whole stays."""
    path = tmp_path_factory.getbasetemp() / random.choice(("fuzzed.jsonl", "fuzzed.json", "fuzzed.csv"))
    rows = [{**GOOD, "problem": f"{i} + 1?"} for i in range(4)]
    text = {
        ".jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        ".json": json.dumps(rows, indent=1) + "\n",
        ".csv": "problem,answer,level\n" + "".join(f"{r['problem']},{r['answer']},1\n" for r in rows),
    }[path.suffix]
    path.write_bytes(logfuzz.mutated(text.encode(), random))
    for skip in (False, True):
        try:
            table, _ = load_with_report(str(path), skip_damaged=skip)
            assert 0 < len(table) <= 9 and all(map(str.strip, table["prompt"][:]))
        except DataError as error:
            assert len(str(error)) < 1500
