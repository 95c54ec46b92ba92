"""Parquet files as columns: nothing that their rows name is opened, and what they hold is counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gdro.data.damage import Damaged, DataError, Row


def parquet_columns(file: Path) -> Any:
    """A parquet file as a `pyarrow.Table`, without its metadata.

    With the metadata, `datasets` would decode images, audio and video, and for that open any path and
    URL that the rows name, with the user's token.
    """
    import pyarrow

    batches = list(_batches(file))
    table = pyarrow.Table.from_batches(batches) if batches else pyarrow.table({})
    return table.replace_schema_metadata(None)


def _batches(file: Path) -> Iterator[Any]:
    """The rows of a parquet file in `pyarrow.RecordBatch`es, until they hold more than its bytes can.

    A text that is stored once may stand in a million rows, so what is decoded is counted, too.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.OSFile(str(file)) as source, pyarrow.parquet.ParquetFile(source) as parquet:
            metadata, size = parquet.metadata, file.stat().st_size
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            num_rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
            num_bytes = sum(group.total_byte_size for group in groups)
            most = max(1000 * _MANY, _RATIO * size)
            if num_rows > max(_MANY, size):
                raise _too_large(file, size, f"{num_rows:,} rows")
            if num_bytes > most:
                raise _too_large(file, size, f"{num_bytes:,} bytes")
            # No value is longer than all of them, as they are stored.
            rows = max(1, min(1024, most // max(1, num_bytes)))
            held = 0
            for stored in parquet.iter_batches(rows, use_threads=False):
                columns = [
                    column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column
                    for column in stored.columns
                ]
                batch = pyarrow.RecordBatch.from_arrays(columns, names=stored.schema.names)
                held += batch.nbytes
                if held > most:
                    raise _too_large(file, size, f"more than {most:,} bytes")
                yield batch
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        if isinstance(problem, DataError):
            raise
        why = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{file} is not a readable table: {why}") from problem


def _too_large(file: Path, size: int, holds: str) -> DataError:
    return DataError(
        f"{file} has {size:,} bytes and claims to hold {holds}; reading it could exhaust the memory. If "
        "that is right, convert it to JSON lines"
    )


def parquet_rows(file: Path) -> Iterator[Row]:
    """Rows of a parquet file; one with a cell that Python cannot hold is damaged."""
    for batch in _batches(file):
        try:
            yield from batch.to_pylist()
        except _CELLS:
            for i in range(batch.num_rows):
                yield _parquet_row(batch, i)


def _parquet_row(batch: Any, i: int) -> Row:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[i].as_py()
        except _CELLS as problem:
            return Damaged(f"column {name!r:.60} cannot be read ({str(problem)[:100]})")
    return row


# Bytes that are no text, dates beyond Python's, unknown time zones.
_CELLS = (ValueError, OverflowError, KeyError)
_MANY, _RATIO = 1_000_000, 100  # rows allowed in any file; most compression of a large one
