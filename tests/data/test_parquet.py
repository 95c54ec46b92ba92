"""A stranger's parquet file is columns: what its rows name is not opened, what it claims is bounded."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.data import DataError, load
from gdro.data.load import load_with_report
from gdro.data.rows import file_rows, read_table

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(path: Path, named: str, feature: str) -> Path:
    """A set whose third column is an image (or sound, or film) at a place that a stranger chose."""
    data = pa.table(
        {
            "problem": ["1 + 1?"],
            "answer": ["2"],
            "shown": pa.array([{"bytes": None, "path": named}], STRUCT),
        }
    )
    text = {"dtype": "string", "_type": "Value"}
    features = {"problem": text, "answer": text, "shown": {"_type": feature}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(data.replace_schema_metadata(about), path)
    return path


@pytest.mark.parametrize("feature", ["Image", "Audio", "Video", "Pdf", "Nifti", "Unknown"])
@pytest.mark.parametrize("where", ["file", "pipe", "http", "hub", "zip"])
def test_no_file_and_no_address_of_a_row_is_opened(tmp_path, feature, where):
    (tmp_path / "secret").write_text("secret")
    os.mkfifo(tmp_path / "pipe")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.png"
        named = {
            "file": str(tmp_path / "secret"),
            "pipe": str(tmp_path / "pipe"),
            "http": address,
            "hub": "hf://datasets/someone/something@main/x.png",
            "zip": f"zip://x::{address}",
        }[where]
        path = written(tmp_path / "set.parquet", named, feature)
        opened: list[str] = []
        watching = [True]

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if watching and event in ("open", "socket.connect", "socket.getaddrinfo"):
                opened.append(f"{event} {arguments}")

        sys.addaudithook(watch)  # stays; it is quiet once `watching` is empty
        table = load(str(path))
        rows = read_table(path)[:]
        watching.clear()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert table["prompt"][:] == ["1 + 1?"] and rows["shown"] == [{"bytes": None, "path": named}]
    assert file_rows(path)[0]["shown"]["path"] == named
    beside = [
        e for e in opened if e.startswith("socket") or (f"{tmp_path}/" in e and "set.parquet" not in e)
    ]
    assert not beside


@pytest.mark.parametrize("num", [2_000_000, 20_000_000])
def test_more_rows_than_a_file_can_hold(tmp_path, num):
    path = tmp_path / "bomb.parquet"
    constant = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["1 + 1?"])
    many = pa.chunked_array([constant] * (num // 1000))
    pq.write_table(pa.table({"problem": many, "answer": many}), path, row_group_size=num)
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=rf"bytes and claims to hold {num:,} rows"):
        load(str(path))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 4, b"PAR1\xff\xff\xff\x7fPAR1", b"{}\n"])
def test_what_is_no_parquet_is_one_error(tmp_path, content):
    path = tmp_path / "set.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a readable table"):
        load(str(path))


def test_a_folder_with_an_equals_sign_adds_no_column(tmp_path):
    folder = tmp_path / "answer=5"
    folder.mkdir()
    pq.write_table(pa.table({"problem": ["1 + 1?"], "answer": ["2"]}), folder / "set.parquet")
    assert load(str(folder / "set.parquet"))["answer"][:] == ["2"]


def test_a_text_that_is_stored_once_is_counted_as_often_as_it_stands(tmp_path: Path) -> None:
    """As dictionaries are stored: five kilobytes that would be eight gigabytes."""
    path = tmp_path / "bomb.parquet"
    text = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 8_000])
    )
    pq.write_table(pa.table({"problem": text, "answer": text}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    for read in (file_rows, read_table):
        with pytest.raises(DataError, match=r"claims to hold more than 1,000,000,000 bytes"):
            read(path)


@pytest.mark.parametrize(
    "cells",
    [
        pa.Array.from_buffers(pa.string(), 2, pa.array([b"ab", b"\xff"], pa.binary()).buffers()),
        pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()),
        pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("ms")),
    ],
    ids=["no text", "a late date", "a late time"],
)
def test_a_cell_that_cannot_be_read_is_one_damaged_row(cells: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "cells.parquet"
    pq.write_table(pa.table({"problem": ["1+1?", "1+2?"], "answer": ["2", "3"], "other": cells}), path)
    with pytest.raises(DataError, match=r"row 2: column 'other' cannot be read .*--skip-damaged"):
        load(str(path))
    table, report = load_with_report(str(path), skip_damaged=True)
    assert table["answer"][:] == ["2"] and len(report.damaged) == 1
