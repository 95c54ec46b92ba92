"""Write a dataset in verl's schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gdro.common.files import replacing
from gdro.data.damage import DataError

INSTRUCTION = (
    "Solve this problem step by step. Give the answer alone on the last line, in the form "
    "Answer: <answer>"
)
# verl scores this source by its own math_dapo rules: +1 for a right answer, otherwise -1, and `acc`.
DATA_SOURCE = "math_dapo"


def check_for_verl(table: Any) -> None:
    """Raise a DataError for answers that verl's rules for math cannot compare."""
    for number, answer in enumerate(table["answer"][:], 1):
        lines = len(answer.splitlines())
        listed = answer.startswith('["')
        if lines > 1 or listed:
            what = f"has {lines} lines" if lines > 1 else "is a list of alternatives"
            raise DataError(
                f"the answer of problem {number} {what}, which verl's math_dapo rules cannot "
                "compare with the last line of a completion; write --to-jsonl and give verl a reward "
                "function of your own (custom_reward_function.path)"
            )


def write_parquet(table: Any, path: Path) -> None:
    """Write a dataset of `gdro.data.load` as parquet for `verl.trainer.main_ppo`.

    `extra_info.index` is the problem's stable id.
    """
    with replacing(path) as file:
        table.map(_row, remove_columns=table.column_names).to_parquet(file)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "data_source": DATA_SOURCE,
        "prompt": [{"role": "user", "content": f"{row['prompt']}\n\n{INSTRUCTION}"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": row["answer"]},
        "extra_info": {"index": row["prompt_id"], "source": row["source"]},
    }
