"""The countdown game: reach a number with some others. Plain prompts that begin the answer, two rewards.

python countdown.py MODEL OUTPUT_DIR
"""

import random
import re
import sys

from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer


def generate_r1_prompt(numbers, target, tokenizer):
    prefix = [
        {"role": "system", "content": "You think about the reasoning first and then give the answer."},
        {
            "role": "user",
            "content": f"Using the numbers {numbers}, create an equation that equals {target}. Show "
            "your work in <think> </think> and the equation in <answer> </answer>.",
        },
    ]
    text = tokenizer.apply_chat_template(prefix, tokenize=False, add_generation_prompt=True)
    return {"prompt": text + "<think>", "target": target, "nums": numbers}


def format_reward_func(completions, target, **kwargs):
    """Whether the answer has the form; the prompt has begun it."""
    rewards = []
    for completion in completions:
        match = re.search(
            r"^<think>.*?</think>.*?<answer>.*?</answer>", "<think>" + completion, re.DOTALL
        )
        rewards.append(1.0 if match else 0.0)
    return rewards


def equation_reward_func(completions, target, nums, **kwargs):
    """Whether the equation uses each number once and equals the target."""
    rewards = []
    for completion, wanted, numbers in zip(completions, target, nums, strict=True):
        match = re.search(r"<answer>(.*?)</answer>", completion)
        equation = match.group(1).strip() if match else ""
        used = [int(n) for n in re.findall(r"\d+", equation)]
        if sorted(used) != sorted(numbers) or not re.match(r"^[\d+\-*/().\s]+$", equation):
            rewards.append(0.0)
            continue
        try:
            result = eval(equation, {"__builtins__": None}, {})
        except (SyntaxError, TypeError, ZeroDivisionError):
            rewards.append(0.0)
            continue
        rewards.append(float(abs(result - wanted) < 1e-5))
    return rewards


def main(model: str, output_dir: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    rng = random.Random(0)
    rows = []
    for _ in range(50):
        numbers = [rng.randint(1, 9) for _ in range(2)]
        rows.append({"nums": numbers, "target": sum(numbers)})
    dataset = Dataset.from_list(rows).shuffle(seed=42)
    dataset = dataset.map(lambda x: generate_r1_prompt(x["nums"], x["target"], tokenizer))
    split = dataset.train_test_split(test_size=0.1, seed=0)

    training_args = GRPOConfig(
        output_dir=output_dir,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        logging_steps=2,
        max_steps=4,
        per_device_train_batch_size=16,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        bf16=False,
        use_cpu=True,
        max_completion_length=16,
        num_generations=4,
        report_to="none",
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[format_reward_func, equation_reward_func],
        args=training_args,
        train_dataset=split["train"],
        eval_dataset=split["test"],
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)


if __name__ == "__main__":
    main(*sys.argv[1:3])
