"""Grade-school sums with an XML answer, as in the well-known demonstration: five small rewards.

python gsm8k_xml.py MODEL OUTPUT_DIR
"""

import re
import sys

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

MODEL, OUTPUT_DIR = sys.argv[1:3]
SYSTEM_PROMPT = """
Respond in the following format:
<reasoning>
...
</reasoning>
<answer>
...
</answer>
"""


def extract_xml_answer(text: str) -> str:
    answer = text.split("<answer>")[-1]
    return answer.split("</answer>")[0].strip()


def extract_hash_answer(text: str) -> str | None:
    return text.split("####")[1].strip() if "####" in text else None


def get_questions() -> Dataset:
    rows = [
        {
            "question": f"Ann has {a} pens and buys {b}. How many has she?",
            "answer": f"{a}+{b}={a + b}\n#### {a + b}",
        }
        for a in range(6)
        for b in range(8)
    ]
    return Dataset.from_list(rows).map(
        lambda x: {
            "prompt": [
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": x["question"]},
            ],
            "answer": extract_hash_answer(x["answer"]),
        }
    )


def correctness_reward_func(prompts, completions, answer, **kwargs) -> list[float]:
    responses = [completion[0]["content"] for completion in completions]
    extracted = [extract_xml_answer(r) for r in responses]
    return [2.0 if r == a else 0.0 for r, a in zip(extracted, answer, strict=True)]


def int_reward_func(completions, **kwargs) -> list[float]:
    responses = [completion[0]["content"] for completion in completions]
    return [0.5 if extract_xml_answer(r).isdigit() else 0.0 for r in responses]


def strict_format_reward_func(completions, **kwargs) -> list[float]:
    pattern = r"^<reasoning>\n.*?\n</reasoning>\n<answer>\n.*?\n</answer>\n$"
    responses = [completion[0]["content"] for completion in completions]
    return [0.5 if re.match(pattern, r) else 0.0 for r in responses]


def soft_format_reward_func(completions, **kwargs) -> list[float]:
    pattern = r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>"
    responses = [completion[0]["content"] for completion in completions]
    return [0.5 if re.match(pattern, r) else 0.0 for r in responses]


def xmlcount_reward_func(completions, **kwargs) -> list[float]:
    tags = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
    responses = [completion[0]["content"] for completion in completions]
    return [0.125 * sum(r.count(tag) == 1 for tag in tags) for r in responses]


training_args = GRPOConfig(
    output_dir=OUTPUT_DIR,
    learning_rate=1e-3,
    adam_beta1=0.9,
    adam_beta2=0.99,
    weight_decay=0.1,
    warmup_steps=1,
    lr_scheduler_type="cosine",
    logging_steps=1,
    bf16=False,
    use_cpu=True,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=4,
    num_generations=4,
    max_completion_length=24,
    num_train_epochs=1,
    max_steps=4,
    save_steps=100,
    max_grad_norm=0.1,
    report_to="none",
)
model = AutoModelForCausalLM.from_pretrained(MODEL)
tokenizer = AutoTokenizer.from_pretrained(MODEL)
tokenizer.pad_token = tokenizer.eos_token

trainer = GRPOTrainer(
    model=model,
    processing_class=tokenizer,
    reward_funcs=[
        xmlcount_reward_func,
        soft_format_reward_func,
        strict_format_reward_func,
        int_reward_func,
        correctness_reward_func,
    ],
    args=training_args,
    train_dataset=get_questions(),
)
trainer.train()
trainer.save_model(OUTPUT_DIR)
