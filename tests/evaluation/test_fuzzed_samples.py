"""Evaluations that were damaged anywhere: read, or refused in one line that names the file."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.cli import main
from gdro.evaluation import EvaluationError, Record, compare, markdown, read_records, scores
from gdro.evaluation.records import _line
from gdro.evaluation.table import comparison_table, details, read_scores
from trust import logfuzz

RECORDS = [
    Record(
        "s", "p", "s", "1", [True, False], ["1/2", None], [3, None], ["a", ""], ["", "length"], "a", "b"
    ),
    Record("s", "q", "s", "", [True, True], ["0.5", "x"], [3, 4], ["a", "b"]),
    Record(
        "t",
        "p",
        "t",
        "2",
        [False, False],
        ["1e5", "\\frac{1}{0}"],
        [0, 1],
        ["", "b"],
        ["", ""],
        "c",
        "d",
    ),
]
RANDOMS = st.randoms(use_true_random=False)


@given(random=RANDOMS)
def test_mutated_samples(tmp_path_factory: Any, random: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "samples.jsonl"
    whole = "".join(map(_line, RECORDS)).encode()
    path.write_bytes(logfuzz.mutated(whole, random))
    try:
        records = read_records(folder)
        summary = scores(records, [1], {record.key: 0.5 for record in RECORDS})
        assert json.loads(json.dumps(summary))["sets"]["all"]["num_prompts"] == len(records)
        assert markdown({"m": summary}, 1) and details(summary, [1])
        assert comparison_table(compare(RECORDS, records, 1))
    except EvaluationError as error:
        assert len(str(error)) < 1000 and str(error).count("\n") == 0


@given(random=RANDOMS)
def test_mutated_scores(tmp_path_factory: Any, random: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = json.dumps(scores(RECORDS, [1, 2])).encode()
    (folder / "eval.json").write_bytes(logfuzz.mutated(whole, random))
    try:
        result = read_scores(folder)
    except EvaluationError as error:
        assert "eval.json" in str(error) and len(str(error)) < 1000
        return
    err = StringIO()
    with redirect_stderr(err), redirect_stdout(StringIO()):
        status = main(["eval", "table", str(folder), str(folder)])
    assert status == 0 or (status == 2 and err.getvalue().count("\n") == 1), result


FOREIGN = {
    "a log of lm-eval": '{"doc_id": 0, "doc": {}, "target": "1", "resps": [["1"]]}',
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "words": "not JSON",
    "an older name": json.dumps({**json.loads(_line(RECORDS[0])), "model": "m"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_lines_are_named(name: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "samples.jsonl").write_text(_line(RECORDS[0]) + FOREIGN[name] + "\n" + _line(RECORDS[1]))
    with pytest.raises(
        EvaluationError, match=r"samples.jsonl, line 2: not a record .*; delete the line"
    ):
        read_records(tmp_path)
    assert main(["eval", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", '\n{"set": "s", "pro', "\n\x00"])
def test_the_end_of_the_file_may_be_cut_or_blank(end: str, tmp_path: Path) -> None:
    text = "\n\n".join(_line(record).strip() for record in RECORDS) + end
    (tmp_path / "samples.jsonl").write_bytes(text.encode())
    assert read_records(tmp_path) == RECORDS
