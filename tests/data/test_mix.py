"""Several sets in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdro.data import DataError
from gdro.data.mix import Source, mixed, sources_of
from gdro.data.presets import PRESETS
from gdro.data.stand_in import stand_in


@pytest.fixture
def sums(write) -> Path:
    rows = [{"problem": f"What is {i} plus {i}?", "answer": str(2 * i)} for i in range(40)]
    return write(
        "sums.jsonl", [*rows, {"problem": "What is a half, in words of many letters?", "answer": "1/2"}]
    )


def test_what_is_taken_of_a_set(sums: Path) -> None:
    rows = Source(str(sums), longest=30, digits=1, limit=4).rows("plain", "Say it.")
    assert len(rows) == 4 and all(len(row["answer"]) == 1 for row in rows)
    named = Source(str(sums), name="doubles", limit=1).rows("plain", "")
    assert named[0]["source"] == "doubles" and rows[0]["source"] == "sums"
    assert rows[0]["prompt"] == rows[0]["problem"] + "\n\nSay it."
    assert rows == Source(str(sums), longest=30, digits=1, limit=4).rows("plain", "Say it.")
    assert [r["prompt_id"] for r in rows] == sorted(r["prompt_id"] for r in rows)


def test_shots_stand_before_the_others_and_are_not_asked(sums: Path) -> None:
    rows = Source(str(sums), digits=2, shots=2).rows("plain", "")
    shown = rows[0]["prompt"].split("\n\n")[:2]
    assert len(rows) == 38 and {tuple(row["prompt"].split("\n\n")[:2]) for row in rows} == {tuple(shown)}
    assert all(row["prompt"].endswith(f"Question: {row['problem']}\nAnswer:") for row in rows)
    assert not any(f"Question: {row['problem']}\nAnswer: {row['answer']}" in shown for row in rows)


def test_nothing_is_on_both_sides(sums: Path, write) -> None:
    other = write(
        "other.jsonl", [{"problem": f"what is {i} PLUS {i}", "answer": "1"} for i in range(30, 50)]
    )
    sources = [Source(str(sums)), Source(str(other))]
    train, held = mixed(sources, 9, "chat", "")
    assert len(held) == 9 and {row["source"] for row in held} == {"sums", "other"}
    ids = [row["prompt"][0]["content"].lower().rstrip("?") for row in [*train, *held]]
    assert len(set(ids)) == len(ids) == 51
    train, held = mixed(sources[:1], sources[1:], "chat", "")
    assert len(held) == 20 and len(train) == 31  # ten sums are held out
    with pytest.raises(DataError, match="0 rows to train on, 41 held out"):
        mixed(sources[:1], sources[:1], "plain", "")


@pytest.mark.parametrize("name", PRESETS)
def test_made_up_rows_have_a_sets_columns(name: str, tmp_path: Path) -> None:
    source = Source(name, levels=("Level 1",) if PRESETS[name].level else None)
    path = stand_in(source, tmp_path / "rows.jsonl")
    rows = Source(name, file=str(path), levels=source.levels).rows("plain", "")
    assert len(rows) == 64 and all(row["source"] == name for row in rows)


def test_files_are_in_the_place_of_the_hub() -> None:
    given = [{"set": "gsm8k"}, {"set": "gsm8k", "file": "own.jsonl"}, {"set": "math"}]
    assert [s.file for s in sources_of(given, {"gsm8k": "f"})] == ["f", "own.jsonl", None]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"sett": "x"}, "has 'sett'"),
        ({"limit": 3}, "has no `set`"),
        ({"set": "gsm8k", "level": 3}, "'level'"),
    ],
)
def test_a_wrong_source_is_named(options: dict, why: str) -> None:
    with pytest.raises(DataError, match=why):
        sources_of([options], {})
