"""Accuracy and format of reasoning, in the manner of open-r1: rewards by name, a config file.

python open_r1.py --config FILE
"""

import logging
import re
from dataclasses import dataclass, field

from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl import GRPOConfig, GRPOTrainer, ModelConfig, ScriptArguments, TrlParser

logger = logging.getLogger(__name__)


@dataclass
class GRPOScriptArguments(ScriptArguments):
    reward_funcs: list[str] = field(default_factory=lambda: ["accuracy", "format"])
    system_prompt: str | None = None


def accuracy_reward(completions, solution, **kwargs):
    """One if the last number of the answer is the solution's; None where no solution can be read."""
    rewards = []
    for completion, sol in zip(completions, solution, strict=True):
        gold = re.findall(r"\d+", sol)
        if not gold:
            rewards.append(None)
            continue
        found = re.findall(r"\d+", completion[0]["content"].split("</think>")[-1])
        rewards.append(float(bool(found) and found[-1][-1] == gold[-1][-1]))
    return rewards


def format_reward(completions, **kwargs):
    pattern = r"^<think>.*?</think>.*?<answer>.*?</answer>$"
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(pattern, c, re.DOTALL) else 0.0 for c in contents]


def tag_count_reward(completions, **kwargs):
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    contents = [completion[0]["content"] for completion in completions]
    return [0.25 * sum(c.count(tag) == 1 for tag in tags) for c in contents]


def get_length_reward(longest: int):
    def length_reward(completions, **kwargs):
        return [-min(len(c[0]["content"]), longest) / longest for c in completions]

    return length_reward


REWARDS = {
    "accuracy": accuracy_reward,
    "format": format_reward,
    "tag_count": tag_count_reward,
    "length": get_length_reward(60),
}


def load(split: str) -> Dataset:
    start = 0 if split == "train" else 40
    numbers = range(start, start + (40 if split == "train" else 4))
    return Dataset.from_dict(
        {
            "problem": [f"What is {n} + 3?" for n in numbers],
            "solution": [f"${n + 3}$" if n % 13 else "left to the reader" for n in numbers],
        }
    )


def main(script_args, training_args, model_args):
    set_seed(training_args.seed)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)

    def make_conversation(example):
        prompt = []
        if script_args.system_prompt is not None:
            prompt.append({"role": "system", "content": script_args.system_prompt})
        prompt.append({"role": "user", "content": example["problem"]})
        return {"prompt": prompt}

    trainer = GRPOTrainer(
        model=model_args.model_name_or_path,
        reward_funcs=[REWARDS[name] for name in script_args.reward_funcs],
        args=training_args,
        train_dataset=load(script_args.dataset_train_split).map(make_conversation),
        eval_dataset=load(script_args.dataset_test_split).map(make_conversation),
        processing_class=tokenizer,
    )
    result = trainer.train()
    metrics = result.metrics
    trainer.log_metrics("train", metrics)
    trainer.save_metrics("train", metrics)
    trainer.save_state()
    trainer.save_model(training_args.output_dir)
    if training_args.do_eval:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
    if trainer.accelerator.is_main_process:
        trainer.create_model_card()


if __name__ == "__main__":
    parser = TrlParser((GRPOScriptArguments, GRPOConfig, ModelConfig))
    main(*parser.parse_args_and_config())
