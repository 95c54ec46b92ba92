"""What makes a sitting a miniature: small numbers, and sums in GSM8K's form."""

from __future__ import annotations

import json
from pathlib import Path

TINY = [
    "trl.use_cpu=true",
    "trl.bf16=false",
    "trl.max_steps=4",
    "trl.num_generations=4",
    "trl.generation_batch_size=16",
    "trl.per_device_train_batch_size=8",
    "trl.max_completion_length=12",
    "evaluation.samples=4",
    "evaluation.base_samples=4",
    "evaluation.k=2",
    "evaluation.also=[4]",
    "evaluation.every=2",
    "task_options.sizes.pool=20",
    "task_options.sizes.reserved=40",
    "task_options.sizes.heldout=8",
    "task_options.sizes.longest_prompt=200",
    "task_options.sizes.longest_solution=200",
    "task_options.lesson.steps=2",
    "task_options.lesson.rows=4",
]


def made_up(folder: Path) -> dict[str, Path]:
    """Two files of sums in GSM8K's form, for the miniature."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, num in (("train", 120), ("test", 40)):
        lines = []
        for i in range(num):
            a, b = 2 + i % 17, 3 + i // 17
            answer = f"{a}+{b}=<<{a}+{b}={a + b}>>{a + b} pens\n#### {a + b}"
            lines.append({"question": f"{a} pens and {b} more. How many?", "answer": answer})
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found
