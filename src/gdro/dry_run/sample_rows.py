"""A few short rows of a user's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.data.rows import read_table
from gdro.errors import DryRunError

_LOOKED_AT = 512


def few_rows(files: Sequence[str], key: str, tokenizer: Any, num: int, path: Path) -> int:
    """Write the rows with the shortest prompts among the first ones of the first file, as Parquet.

    Prompts in the column `key` are messages or a text. Returns the tokens of the longest one written.

    Raises:
        DataError: The file is missing or unreadable.
        DryRunError: It lacks the column, or has too few rows.
    """
    first = Path(files[0]).expanduser()
    table = read_table(first)
    if key not in table.column_names:
        raise DryRunError(
            f"{first} has no column {key!r} (data.prompt_key); it has {', '.join(table.column_names)}"
        )
    table = table.select(range(min(len(table), _LOOKED_AT)))
    if len(table) < num:
        raise DryRunError(f"{first} has {len(table)} rows; the dry run needs {num}")
    lengths = [_length(value, tokenizer) for value in table[key]]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)[:num]
    table.select(sorted(order)).to_parquet(str(path))
    return lengths[order[-1]]


def _length(prompt: Any, tokenizer: Any) -> int:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
