"""Prompts from problems: plain text, or a conversation for a chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from gdro.common.files import replacing

BOXED = "Solve this problem step by step, and put the answer in \\boxed{}."
Style = Literal["plain", "chat"]


def prompts(table: Any, style: Style = "chat", instruction: str = BOXED) -> Any:
    """Turn problems into prompts for a trainer.

    Args:
        table: Dataset of problems, as `gdro.data.load` returns it.
        style: `chat`: one user message, to which TRL applies the tokenizer's chat template; `plain`:
            text, for base models.
        instruction: Text appended to each problem; empty for none.

    Returns:
        The `datasets.Dataset` with its column `prompt` replaced.
    """
    return table.map(_prompt, fn_kwargs={"style": style, "instruction": instruction})


def write_jsonl(table: Any, path: Path) -> None:
    """Write rows as lines of JSON, which `gdro.data.load` and `datasets` read."""
    with replacing(path) as file:
        table.to_json(file, force_ascii=False)


def with_instruction(problem: str, style: Style, instruction: str) -> str | list[dict[str, str]]:
    """A problem as a prompt: text, or a conversation."""
    text = "\n\n".join(filter(None, (problem, instruction)))
    return text if style == "plain" else [{"role": "user", "content": text}]


def _prompt(row: dict[str, Any], style: Style, instruction: str) -> dict[str, Any]:
    return {"prompt": with_instruction(row["prompt"], style, instruction)}
