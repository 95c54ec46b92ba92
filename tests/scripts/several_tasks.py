"""Two tasks in one data set, as TRL documents it: each reward is None for rows of the other one.

python several_tasks.py MODEL OUTPUT_DIR
"""

import sys
from itertools import pairwise

from datasets import Dataset, concatenate_datasets
from trl import GRPOConfig, GRPOTrainer

MODEL, OUTPUT_DIR = sys.argv[1:3]

sums = Dataset.from_list(
    [{"prompt": f"{a}+{b}=", "result": str(a + b)} for a in range(5) for b in range(5)]
).map(lambda row: {"task": "sums"})
sorting = Dataset.from_list(
    [{"prompt": f"sort {a}{b}{c}:", "letters": 3} for a in "789" for b in "456" for c in "123"]
).map(lambda row: {"task": "sorting"})


def sum_reward_func(prompts, completions, result, task, **kwargs):
    """One if the sum is there; only for sums."""
    return [
        float(r in c) if t == "sums" else None for c, r, t in zip(completions, result, task, strict=True)
    ]


def sorting_reward_func(prompts, completions, task, **kwargs):
    """How much of the answer is in order; only for sorting."""
    rewards = []
    for completion, name in zip(completions, task, strict=True):
        if name != "sorting":
            rewards.append(None)
            continue
        digits = [c for c in completion if c.isdigit()]
        pairs = list(pairwise(digits))
        rewards.append(sum(a <= b for a, b in pairs) / len(pairs) if pairs else 0.0)
    return rewards


training_args = GRPOConfig(
    output_dir=OUTPUT_DIR,
    per_device_train_batch_size=16,
    num_generations=4,
    max_completion_length=12,
    learning_rate=1e-3,
    max_steps=4,
    logging_steps=1,
    bf16=False,
    use_cpu=True,
    report_to="none",
)
trainer = GRPOTrainer(
    model=MODEL,
    reward_funcs=[sum_reward_func, sorting_reward_func],
    args=training_args,
    train_dataset=concatenate_datasets([sums, sorting]),
)
trainer.train()
trainer.save_model(OUTPUT_DIR)
