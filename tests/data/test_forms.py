"""Files as people have them: bytes, separators, containers and columns of other programs' datasets."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.cli import main
from gdro.data import DataError, load
from gdro.data.load import load_with_report
from gdro.data.prompts import BOXED
from gdro.data.verl_schema import INSTRUCTION

BOM = b"\xef\xbb\xbf"
TWO = b'{"problem": "1+1?", "answer": "2"}\n{"problem": "1+2?", "answer": "3"}\n'
LIST = json.dumps([json.loads(line) for line in TWO.splitlines()]).encode()
SHEET = b"problem,answer\n1+1?,2\n1+2?,3\n"


def packed(content: bytes) -> bytes:
    """Gzip without the time, so that names of tests are the same in every process."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "mark, lines": ("a.jsonl", BOM + TWO),
        "mark, list": ("a.json", BOM + LIST),
        "mark, sheet": ("a.csv", BOM + SHEET),
        "mark after a blank line": ("a.jsonl", b"\n" + TWO),
        "carriage returns, lines": ("a.jsonl", TWO.replace(b"\n", b"\r\n")),
        "carriage returns, sheet": ("a.csv", SHEET.replace(b"\n", b"\r\n")),
        "carriage returns alone": ("a.csv", SHEET.replace(b"\n", b"\r")),
        "blank lines": ("a.jsonl", TWO.replace(b"\n", b"\n\n \n")),
        "no last newline": ("a.jsonl", TWO.rstrip()),
        "lines in .json": ("a.json", TWO),
        "a list in .jsonl": ("a.jsonl", LIST),
        "a pretty list": ("a.json", json.dumps(json.loads(LIST), indent=2).encode()),
        "pretty objects": (
            "a.jsonl",
            b"".join(
                json.dumps(json.loads(line), indent=1).encode() + b"\n" for line in TWO.splitlines()
            ),
        ),
        "objects on one line": ("a.jsonl", TWO.replace(b"\n", b" ")),
        "ndjson": ("a.ndjson", TWO),
        "semicolons": ("a.csv", SHEET.replace(b",", b";")),
        "tabs": ("a.csv", SHEET.replace(b",", b"\t")),
        "bars": ("a.csv", SHEET.replace(b",", b"|")),
        "tsv": ("a.tsv", SHEET.replace(b",", b"\t")),
        "semicolons, with commas in cells": ("a.csv", b"problem;answer\n1+1?;2\n1,0+2?;3\n1+2?;3\n"),
        "spaces in the header": ("a.csv", SHEET.replace(b"problem,", b" problem , ")),
        "capitals": ("a.csv", SHEET.replace(b"problem", b"Problem").replace(b"answer", b"ANSWER")),
        "capital suffix": ("A.CSV", SHEET),
        "gzip": ("a.jsonl.gz", packed(TWO)),
        "gzip, sheet": ("a.csv.gz", packed(SHEET)),
        "gzip, list": ("a.json.gz", packed(LIST)),
        "gzip without the suffix": ("a.jsonl", packed(TWO)),
        "gzip in two parts": ("a.jsonl.gz", packed(TWO[:36]) + packed(TWO[36:])),
        "columns once": (
            "a.json",
            b'{"columns": ["problem", "answer"], "data": [["1+1?", 2], ["1+2?", 3]]}',
        ),
    }.values(),
)
def test_containers(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert {"2", "3"} <= set(load(str(path))["answer"][:])


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\xa0"]
)
@pytest.mark.parametrize("quoted", [False, True])
def test_a_row_ends_at_a_newline_alone(tmp_path: Path, mark: str, quoted: bool) -> None:
    path = tmp_path / "a.csv"
    text = f'"a{mark}b?"' if quoted else f"a{mark}b?"
    path.write_text(f"problem,answer\n{text},4\nc?,5\n", encoding="utf-8")
    assert load(str(path))["prompt"][:] == [f"a{mark}b?", "c?"]


def test_a_long_cell_is_read_and_the_modules_limit_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text(f"problem,answer\n{'y' * 200_000},1\n")
    assert len(load(str(path))["prompt"][0]) == 200_000 and csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    {
        "a cell that never ends": (
            "a.csv",
            b'problem,answer\n1+1?,2\n"1+2?,3\n',
            "line 3 starts with .* never ends",
        ),
        "a comma without quotes": (
            "a.csv",
            SHEET + b"1,000+1?,1001\n",
            "row 3: it has 3 cells and the header 2",
        ),
        "a cell is missing": ("a.csv", SHEET + b"1+3?\n", "row 3: no answer in column 'answer'"),
        "nan in a sheet": ("a.csv", SHEET + b"1+3?,NaN\n", "row 3: no answer in column 'answer'"),
        "two columns of one name": (
            "a.csv",
            b"problem,answer,answer\n1+1?,2,3\n",
            "two columns 'answer'",
        ),
        "utf-16": (
            "a.csv",
            "problem,answer\n1?,1\n".encode("utf-16"),
            "not UTF-8 at byte 0; save it as UTF-8",
        ),
        "latin-1, lines": (
            "a.jsonl",
            TWO + '{"problem": "é", "answer": 1}\n'.encode("latin-1"),
            "row 3: .*not UTF-8",
        ),
        "glued lines": ("a.jsonl", TWO + TWO.replace(b"\n", b""), r"row 3: it is not JSON \(Extra data"),
        "a broken pretty object": (
            "a.json",
            b'{\n "problem": "1?",\n "answer" 2\n}\n',
            "line 3 column 11",
        ),
        "rows under a key": (
            "a.json",
            b'{"data": ' + LIST + b"}",
            "the rows under 'data'; .*write the list alone",
        ),
        "rows that are lists": (
            "a.json",
            b'[[{"from": "human", "value": "1?"}]]',
            "row 1: .* but a list",
        ),
        "rows that are texts": ("a.json", b'["1?"]', "row 1: .* but a text"),
        "a number": ("a.json", b"7", "holds int; it must hold a list of rows"),
        "gzip, cut off": ("a.jsonl.gz", packed(TWO)[:-12], "is damaged or cut off"),
        "gzip, damaged": ("a.jsonl.gz", packed(TWO)[:14] + b"\xff" * 9, "is damaged or cut off"),
        "zip": ("a.csv", b"PK\x03\x04" + SHEET, "is a zip file; unpack it"),
        "zstd": ("a.jsonl", b"\x28\xb5\x2f\xfd" + TWO, "is a zstd file; unpack it"),
    }.values(),
)
def test_one_error_says_where(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as refused:
        load(str(path))
    assert name in str(refused.value) and "\n" not in str(refused.value)


def test_a_packed_file_is_not_larger_than_its_bytes_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(300):
            file.write(b" " * (1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="unpacks to more than 268,435,456 bytes"):
        load(str(path))


def shard(path: Path, *numbers: int) -> None:
    rows = [{"problem": f"{i}+1?", "answer": i + 1} for i in numbers]
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_shards_are_one_set_in_the_order_of_their_numbers(tmp_path: Path, suffix: str) -> None:
    for i in (10, 2, 1):
        shard(tmp_path / f"sums/train-{i}-of-10{suffix}", i)
    (tmp_path / "sums/README.md").write_text("no rows")
    for name in (tmp_path / "sums", tmp_path / f"sums/train-*{suffix}", tmp_path / f"s*/*{suffix}"):
        assert load(str(name))["answer"][:] == ["2", "3", "11"]
    assert load(str(tmp_path / "sums"))["source"][0] == "sums"
    shard(tmp_path / f"sums/test-1-of-1{suffix}", 5)
    with pytest.raises(DataError, match=r"files of several splits \(test, train\); give one of them"):
        load(str(tmp_path / "sums"))
    assert load("math-500", tmp_path / f"sums/test*{suffix}")["answer"][:] == ["6"]


def test_folders_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*, or a folder"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="cannot read"):
        load(str(tmp_path / "none*.jsonl"))
    shard(tmp_path / "a.jsonl", 1)
    shard(tmp_path / "b.parquet", 2)
    with pytest.raises(DataError, match=r"holds .jsonl, .parquet files; give a pattern: "):
        load(str(tmp_path))
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "b.jsonl").write_text("{broken\n" + '{"problem": "1?", "answer": 1}\n')
    with pytest.raises(DataError, match=r"row 2: row 1 of b.jsonl: it is not JSON"):
        load(str(tmp_path))


DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the "
    "form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n1+1?\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)
USER = {"role": "user", "content": "1+1?"}
VERL = {"data_source": "x", "prompt": [USER], "ability": "math", "extra_info": {"index": 3}}


@pytest.mark.parametrize(
    ("row", "answer"),
    {
        "verl": ({**VERL, "reward_model": {"style": "rule", "ground_truth": "2"}}, "2"),
        "dapo": (
            {**VERL, "prompt": [{**USER, "content": DAPO}], "reward_model": {"ground_truth": "2"}},
            "2",
        ),
        "skywork": ({**VERL, "reward_model": {"ground_truth": '["2"]', "style": "rule"}}, "2"),
        "skywork, two": ({**VERL, "reward_model": {"ground_truth": '["2", "1+1"]'}}, '["2", "1+1"]'),
        "verl in a sheet": (
            {**VERL, "prompt": json.dumps([USER]), "reward_model": '{"ground_truth": "2"}'},
            "2",
        ),
        "ours": (
            {
                **VERL,
                "prompt": [{**USER, "content": f"1+1?\n\n{INSTRUCTION}"}],
                "reward_model": {"ground_truth": "2"},
            },
            "2",
        ),
        "chat": ({"prompt": [USER], "answer": "2"}, "2"),
        "chat as text": ({"prompt": json.dumps([USER], indent=1), "answer": "2"}, "2"),
        "one message": ({"prompt": USER, "answer": 2}, "2"),
        "system": ({"messages": [{"role": "system", "content": "Be brief."}, USER], "answer": 2}, "2"),
        "sharegpt": ({"conversations": [{"from": "human", "value": "1+1?"}], "ground_truth": 2}, "2"),
        "parts": (
            {"prompt": [{"role": "user", "content": [{"type": "text", "text": "1+1?"}]}], "answer": 2},
            "2",
        ),
        "boxed": ({"problem": f"1+1?\n\n{BOXED}", "answer": "2"}, "2"),
        "qwen": (
            {
                "problem": "1+1? Please reason step by step, and put your final answer "
                "within \\boxed{}.",
                "answer": 2,
            },
            "2",
        ),
        "openrlhf": ({"input": "1+1?", "label": "2"}, "2"),
        "solution": ({"problem": "1+1?", "solution": "We add. " * 200 + "So $\\boxed{2}$."}, "2"),
        "worked": ({"question": "1+1?", "answer": "We add 1 and 1.\n#### 2"}, "2"),
        "whole float": ({"problem": "1+1?", "answer": 2.0}, "2"),
        "large float": ({"problem": "1+1?", "answer": 1e22}, "1" + "0" * 22),
        "small float": ({"problem": "1+1?", "answer": 1e-7}, "0.0000001"),
        "leading zeros": ({"problem": "1+1?", "answer": "002"}, "002"),
        "negative zero": ({"problem": "1+1?", "answer": -3.0}, "-3"),
        "alternatives": ({"problem": "1+1?", "answer": ["2", "two"]}, '["2", "two"]'),
        "numbers": ({"problem": "1+1?", "answer": [2, 2.0]}, "2"),
        "one": ({"problem": "1+1?", "answer": [" 2 "]}, "2"),
        "answer before solution": ({"problem": "1+1?", "solution": "Add.", "answer": "2"}, "2"),
    }.values(),
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_columns_of_other_programs(
    tmp_path: Path, row: dict[str, Any], answer: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        try:
            pq.write_table(pa.Table.from_pylist([row]), path)
        except pa.ArrowInvalid:  # a list of several types
            return
    else:
        path.write_text(json.dumps(row))
    table = load(str(path))
    assert (table["prompt"][:], table["answer"][:]) == (["1+1?"], [answer])


@pytest.mark.parametrize(
    ("row", "said"),
    {
        "python": ({"prompt": str([USER]), "answer": 2}, "a conversation in Python's notation"),
        "several turns": (
            {"prompt": [USER, {"role": "assistant", "content": "2"}], "answer": 2},
            "a conversation of user, assistant; one user",
        ),
        "an image": (
            {"prompt": [{"role": "user", "content": [{"type": "image"}]}], "answer": 2},
            "more than text",
        ),
        "numbers": ({"prompt": [1, 2], "answer": 2}, "a list, but no conversation"),
        "a mapping": (
            {"problem": {"text": "1+1?", "id": 3}, "answer": 2},
            "--problem .*problem.text, problem.id",
        ),
        "no answer but a mapping": (
            {"problem": "1+1?", "answer": {"value": "2"}},
            "--answer .*answer.value",
        ),
        "a list of lists": ({"problem": "1+1?", "answer": [["2"]]}, "a list with other things"),
        "an empty list": ({"problem": "1+1?", "answer": []}, "no answer in column"),
        "a null in a list": ({"problem": "1+1?", "answer": ["2", None]}, "a list with other things"),
        "a long proof": (
            {"problem": "1+1?", "solution": "We add. " * 200},
            "1,599 characters .* a solution, not an answer",
        ),
        "null": ({"problem": "1+1?", "answer": "null"}, "no answer in column"),
    }.values(),
)
def test_what_is_no_problem_or_answer_is_said(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match=f"row 1: .*{said}"):
        load(str(path))


def test_a_column_inside_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"a.b": {"c": "1+1?"}, "gold": {"x": {"y": 2}}}))
    table = load(str(path), problem="a.b.c", answer="gold.x.y")
    assert (table["prompt"][:], table["answer"][:]) == (["1+1?"], ["2"])
    with pytest.raises(
        DataError, match=r"no column 'gold.z'; it has a.b.c, gold.x; pass --answer COLUMN"
    ):
        load(str(path), problem="a.b.c", answer="gold.z")


def test_a_column_that_the_first_row_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"problem": "1?"}\n{"problem": "2?", "answer": 2}\n')
    with pytest.raises(DataError, match="row 1: no answer"):
        load(str(path))
    assert load_with_report(str(path), skip_damaged=True)[0]["answer"][:] == ["2"]


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_an_instruction_stands_once_however_often_a_file_is_written(tmp_path: Path, style: str) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    (tmp_path / "own.jsonl").write_bytes(TWO)
    for source, target in ((tmp_path / "own.jsonl", first), (first, second)):
        assert main(["data", str(source), "--style", style, "--to-jsonl", str(target)]) == 0
    assert second.read_text().count("step by step") == 2
    assert load_with_report(str(second))[1].instructions == 2
    ids = load(str(tmp_path / "own.jsonl"))["prompt_id"][:]
    assert load(str(second))["prompt_id"][:] == ids
    assert main(["data", str(second), "--to-parquet", str(tmp_path / "verl")]) == 0
    assert load(str(tmp_path / "verl"))["prompt_id"][:] == ids


def test_prose_is_told_at_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    proof = "We add the first number to the second one, and then see that both must be equal to two."
    path.write_text(json.dumps({"problem": "1+1?", "solution": proof}) + "\n")
    with pytest.warns(UserWarning, match="1 of 1 answers read like sentences or solutions"):
        load(str(path))
    assert main(["data", str(path)]) == 0
    assert "warning: 1 of 1 answers read like sentences" in capsys.readouterr().out


def test_choices_of_ones_own_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    wrong = ",".join(f"Incorrect Answer {i}" for i in (1, 2, 3))
    head = f"Question,Correct Answer,{wrong},High-level domain"
    path.write_text(f"{head}\nWhich gas?,oxygen,neon,argon,helium,Chemistry\n")
    (row,) = load(str(path))
    assert f"{row['answer']}) oxygen" in row["prompt"] and row["level"] == "Chemistry"
    path.write_text(f"{head}\nWhich gas?,oxygen,neon,argon, ,Chemistry\n")
    with pytest.raises(
        DataError, match="row 1: a choice is missing: column 'Incorrect Answer 3' is empty"
    ):
        load(str(path))


@pytest.mark.parametrize(
    ("levels", "read"),
    [
        ([1, "two", None], ["1", "two", None]),
        ([1, 2.5, 3], ["1", "2.5", "3"]),
        ([True, "x", 1], ["True", "x", "1"]),
        ([float("nan"), 2.0, 3.0], [None, 2.0, 3.0]),
    ],
)
def test_levels_of_several_types(tmp_path: Path, levels: list[Any], read: list[Any]) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"problem": f"{i}?", "answer": i, "level": level} for i, level in enumerate(levels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load(str(path))["level"][:] == read


def test_what_verl_cannot_compare_is_refused_before_it_is_written(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "a.jsonl"
    for answer, said in (("1 2\n3 4", "has 2 lines"), (["2", "two"], "is a list of alternatives")):
        path.write_text(json.dumps({"problem": "1+1?", "answer": answer}))
        assert main(["data", str(path), "--to-parquet", str(tmp_path / "out")]) == 2
        assert f"the answer of problem 1 {said}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_check_asks_reasoning_gyms_own_scorer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "reasoning-gym:countdown?size=2&seed=1", "--check"]) == 2
    assert "scorer of 'countdown'" in capsys.readouterr().err
    assert main(["data", "reasoning-gym:mini_sudoku?size=2&seed=1", "--check"]) == 0
    assert "2 of 2" in capsys.readouterr().out
