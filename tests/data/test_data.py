"""Public sets from local files with the columns that they have on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from gdro.cli import main
from gdro.data import DataError, load

# The columns of open-r1/DAPO-Math-17k-Processed.
ROWS = [
    {
        "prompt": problem,
        "solution": answer,
        "data_source": "math_dapo",
        "ability": "MATH",
        "source_prompt": [{"role": "user", "content": f"Solve: {problem}"}],
        "reward_model": {"ground_truth": answer, "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": f"uuid-{i}"},
    }
    for i, (problem, answer) in enumerate(
        [("What is 1 + 1?", "2"), ("What is  1 + 1? ", "2"), ("What is 2 + 1?", "3"), ("Is 2 odd?", "0")]
    )
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.parquet"
    Dataset.from_list(ROWS).to_parquet(str(path))
    return path


def test_rows_have_one_schema_and_problems_are_distinct(raw: Path) -> None:
    table = load("dapo-math-14k", raw)
    assert table.column_names == ["prompt", "answer", "prompt_id", "source"]
    assert table["prompt"][:] == ["What is 1 + 1?", "What is 2 + 1?", "Is 2 odd?"]
    assert table["answer"][:] == ["2", "3", "0"]
    assert set(table["source"]) == {"dapo-math-14k"}


def test_ids_stay_when_rows_move(raw: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.parquet"
    Dataset.from_list(ROWS[::-1][:3]).to_parquet(str(moved))
    before = dict(zip(*(load("dapo-math-14k", raw)[c] for c in ("answer", "prompt_id")), strict=True))
    after = dict(zip(*(load("dapo-math-14k", moved)[c] for c in ("answer", "prompt_id")), strict=True))
    assert before == after and len(set(before.values())) == 3


def test_the_command_writes_verl_s_schema(raw: Path, tmp_path: Path, capsys) -> None:
    options = ["--from", str(raw), "--to-parquet", str(tmp_path / "out"), "--limit", "2"]
    assert main(["data", "dapo-math-14k", *options]) == 0
    assert "2 problems" in capsys.readouterr().out
    table = Dataset.from_parquet(str(tmp_path / "out/train.parquet"))
    row = table[1]
    assert row["prompt"][0]["role"] == "user" and row["prompt"][0]["content"].startswith("What is 2")
    assert row["reward_model"]["ground_truth"] == "3" and row["data_source"] == "math_dapo"
    assert len({r["extra_info"]["index"] for r in table}) == 2


def test_a_level_is_kept_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "math.jsonl"
    rows = [{"problem": "1+1", "answer": "2", "level": 3}, {"problem": "1+2", "answer": "3", "level": 5}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert load("math-500", path)["level"][:] == [3, 5]


def test_what_is_wrong_is_said(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no set 'dapo'; there are: dapo-math-14k"):
        load("dapo")
    with pytest.raises(DataError, match=r"no column 'problem'; it has prompt"):
        load("math-500", raw)
    with pytest.raises(DataError, match="give an existing"):
        load("math-500", tmp_path / "absent.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_text("no table")
    with pytest.raises(DataError, match="is not a readable table"):
        load("math-500", broken)
    assert main(["data", "math-500", "--from", str(broken), "--to-parquet", str(tmp_path)]) == 2
